"""MOTChallenge: `frame,id,left,top,width,height,conf,x,y,z`, boxes only.

Everything is counted from 1, frames, and pixels too (TrackEval, docs/MOTChallenge-format.txt); x, y, z are -1
in two dimensions.
"""

from __future__ import annotations

from pathlib import Path

from vidseg.pipeline.writers.finished import Masklets, open_text


def write_mot(path: Path, masklets: Masklets) -> None:
    """Write the file."""
    with open_text(path) as file:
        for line in masklets:
            for item in line.objects:
                if item.area:
                    x, y, w, h = item.box
                    file.write(
                        f"{line.frame + 1},{item.id},{x + 1},{y + 1},{w},{h},{item.score:g},-1,-1,-1\n"
                    )
