"""What clicks are worth: J of a frame as they come, on the DAVIS 2016 validation sequences.

    python benchmarks/corrections.py --root DAVIS [--tracker NAME] [--weights FILE] [--clicks N]
                                     [--set ImageSets/2016/val.txt]

Every click lies deepest inside what is wrong: on the object where it was missed, off it where too much was
taken. It is given alone, as by a user who looks at the answer. First a frame from nothing: the first one.
Then every 15th frame of a track that begins with the first frame's mask, with J of the five frames that
follow, and what it was on them without the correction. Means over frames, then over sequences.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from davis import frames_of, truths_of

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.contract import Tracker
from vidseg.training.prompts import deepest_point, depth_inside

EVERY = 15
FOLLOWING = 5

Mask = npt.NDArray[np.bool_]


@dataclass
class Corrections:
    """The scores of one sequence, with a row for each corrected frame."""

    first: list[float] = field(default_factory=list)
    """J of the first frame after each click."""
    later: list[list[float]] = field(default_factory=list)
    """J before a click, and after each."""
    following: list[tuple[float, float]] = field(default_factory=list)
    """Mean J of the frames that follow, as tracked, and after the clicks."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the DAVIS folder")
    parser.add_argument("--tracker", default=DEFAULT_TRACKER, help="name or YAML")
    parser.add_argument("--weights", type=Path, help="a file; without it, the tracker's own")
    parser.add_argument("--clicks", type=int, default=3)
    parser.add_argument(
        "--set", default="ImageSets/2016/val.txt", help="file of sequence names under the root"
    )
    args = parser.parse_args()

    tracker = vidseg.load(args.tracker, weights=args.weights)
    names = (args.root / args.set).read_text().split()
    rows = []
    for name in names:
        rows.append(correct_sequence(args.root, name, tracker, args.clicks))
        print(_line(name, rows[-1:]), flush=True)
    print(_line(f"mean of {len(rows)}", rows))


def correct_sequence(root: Path, name: str, tracker: Tracker, num_clicks: int) -> Corrections:
    frames = list(frames_of(root / "JPEGImages/480p" / name))
    truth = truths_of(root / "Annotations/480p" / name)
    found = Corrections()

    session = tracker.start()
    x, y, label = click(np.zeros_like(truth[0]), truth[0])
    session.prompt(1, points=[(x, y)], labels=[label])
    mask = session.step(frames[0]).masks[0]
    found.first = [region_j(mask, truth[0]), *clicked(session, mask, truth[0], num_clicks - 1)]

    session, tracked = tracker.start(), []
    session.prompt(1, mask=truth[0])
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for frame in frames:
            if frame.index and frame.index % EVERY == 0 and frame.index + FOLLOWING < len(frames):
                files[frame.index] = Path(folder) / str(frame.index)
                session.save(files[frame.index])
            tracked.append(region_j(session.step(frame).masks[0], truth[frame.index]))
        for index, file in files.items():
            session = tracker.restore(file)
            mask = session.step(frames[index]).masks[0]
            found.later.append([tracked[index], *clicked(session, mask, truth[index], num_clicks)])
            after = range(index + 1, index + 1 + FOLLOWING)
            corrected = [region_j(session.step(frames[i]).masks[0], truth[i]) for i in after]
            found.following.append((float(np.mean([tracked[i] for i in after])), float(np.mean(corrected))))
    return found


def clicked(session: Any, mask: Mask, truth: Mask, num_clicks: int) -> list[float]:
    """J after each click on the frame that was stepped last."""
    js = []
    for _ in range(num_clicks):
        x, y, label = click(mask, truth)
        mask = session.refine(1, points=[(x, y)], labels=[label]).masks[0]
        js.append(region_j(mask, truth))
    return js


def click(mask: Mask, truth: Mask) -> tuple[float, float, int]:
    """The click deepest inside the largest error: x and y in pixels, and 1 on the object or 0 off it."""
    best = (-1.0, 0.0, 0.0, 1)
    for label, error in ((1, truth & ~mask), (0, mask & ~truth)):
        best = max(best, (float(depth_inside(error).max()), *deepest_point(error), label))
    return best[1:]


def _line(name: str, rows: Sequence[Corrections]) -> str:
    first = np.mean([row.first for row in rows], axis=0)
    """J of the first frame after each click."""
    later = np.mean([np.mean(row.later, axis=0) for row in rows], axis=0)
    """J before the first click on a later frame, and after each one."""
    plain, corrected = np.mean([np.mean(row.following, axis=0) for row in rows], axis=0)
    shown = [" ".join(f"{j:.3f}" for j in js) for js in (first, later)]
    return f"{name:20s} first {shown[0]}   later {shown[1]}   following {plain:.3f} -> {corrected:.3f}"


if __name__ == "__main__":
    main()
