"""What does `--discover` find on real clips? A picture of it, and how long the ids live.

    python benchmarks/discovery_clips.py CLIP.mp4 ... [--frames N] [--tracker NAME] [--out FILE.webp]

Each clip is followed to its end, without a prompt; its last frame is painted with what is followed there. An
id whose mask is seen on fewer than 10 frames flickers; ids that were first reported fewer than 10 frames
before the end are not counted.
"""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import vidseg
from vidseg.trackers.choices import DEFAULT_TRACKER

FLICKER = 10
"""An id that is seen on fewer frames than this flickers."""
PANEL_WH = (480, 270)
COLUMNS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, help="of each clip, at most (default: all)")
    parser.add_argument("--tracker", default=DEFAULT_TRACKER, help="name or YAML")
    parser.add_argument("--out", type=Path, help="write the last frames of the clips, painted")
    args = parser.parse_args()

    torch.set_num_threads(1)
    tracker = vidseg.load(args.tracker)
    panels, flickers, judged = [], 0, 0
    for clip in args.clips:
        seen, first, num_frames, painted = follow(tracker, clip, args.frames)
        early = [obj_id for obj_id in seen if first[obj_id] <= num_frames - FLICKER]
        short = [obj_id for obj_id in early if seen[obj_id] < FLICKER]
        print(
            f"{clip.name}: {num_frames} frames, {len(seen)} ids; {len(short)} of {len(early)} seen on fewer "
            f"than {FLICKER} frames",
            flush=True,
        )
        flickers, judged = flickers + len(short), judged + len(early)
        panels.append(Image.fromarray(painted).resize(PANEL_WH, Image.Resampling.LANCZOS))
    print(f"all: {flickers} of {judged}")
    if args.out is not None:
        rows = -(-len(panels) // COLUMNS)
        sheet = Image.new("RGB", (COLUMNS * PANEL_WH[0], rows * PANEL_WH[1]))
        for place, panel in enumerate(panels):
            sheet.paste(panel, (place % COLUMNS * PANEL_WH[0], place // COLUMNS * PANEL_WH[1]))
        sheet.save(args.out, quality=80)


def follow(
    tracker: vidseg.Tracker, clip: Path, limit: int | None
) -> tuple[Counter[int], dict[int, int], int, np.ndarray]:
    """On how many frames each id was seen, on which it came first, how many frames there were, and the last
    one, painted."""
    session, discovery = tracker.start(), vidseg.Discovery(tracker)
    seen: Counter[int] = Counter()
    first: dict[int, int] = {}
    for frame in islice(vidseg.read(clip), limit):
        result = discovery.step(session, frame)
        for obj_id, mask in zip(result.obj_ids, result.masks, strict=True):
            if mask.any():
                seen[obj_id] += 1
                first.setdefault(obj_id, frame.index)
    return seen, first, frame.index + 1, result.plot(frame.image)


if __name__ == "__main__":
    main()
