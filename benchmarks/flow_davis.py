"""Mean J of a tracker on the DAVIS 2016 validation sequences, from the first frame's mask or its tight box.

    python benchmarks/flow_davis.py --root DAVIS [--prompt mask|box] [--tracker flow]

DAVIS holds JPEGImages/480p, Annotations/480p and ImageSets/2016/val.txt. J leaves out the first and the last
frame of a sequence, as DAVIS does; the figure is the mean over frames, then over sequences. Speed counts
`session.step` alone, without decoding: frames a second by the clock, and CPU milliseconds a frame.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

import vidseg


@dataclass(frozen=True)
class SequenceScore:
    mean_j: float
    num_frames: int
    wall_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the DAVIS folder")
    parser.add_argument("--prompt", choices=("mask", "box"), default="mask")
    parser.add_argument("--tracker", default="flow", help="name or YAML")
    parser.add_argument(
        "--set", default="ImageSets/2016/val.txt", help="file of sequence names under the root"
    )
    args = parser.parse_args()

    scores = {}
    for name in (args.root / args.set).read_text().split():
        scores[name] = score = score_sequence(args.root, name, args.tracker, args.prompt)
        print(f"{name:<24} J {score.mean_j:.3f}  {_speed([score])}", flush=True)
    mean_j = float(np.mean([score.mean_j for score in scores.values()]))
    print(f"{f'mean of {len(scores)}, {args.prompt}':<24} J {mean_j:.3f}  {_speed(list(scores.values()))}")


def score_sequence(root: Path, name: str, tracker: str, prompt: str) -> SequenceScore:
    """Track one sequence, all its annotated foreground as one object, and score it."""
    truths = [read_mask(path) for path in sorted((root / "Annotations/480p" / name).glob("*.png"))]
    session = vidseg.load(tracker).start(num_frames=len(truths))
    if prompt == "mask":
        session.prompt(1, mask=truths[0])
    else:
        session.prompt(1, box=tight_box(truths[0]))
    ious, wall_s, cpu_s = [], 0.0, 0.0
    for frame in frames_of(root / "JPEGImages/480p" / name):
        wall, cpu = time.perf_counter(), time.process_time()
        mask = session.step(frame).masks[0]
        wall_s += time.perf_counter() - wall
        cpu_s += time.process_time() - cpu
        ious.append(iou(mask, truths[frame.index]))
    return SequenceScore(float(np.mean(ious[1:-1])), len(ious), wall_s, cpu_s)


def frames_of(folder: Path) -> Iterator[vidseg.Frame]:
    for index, path in enumerate(sorted(folder.glob("*.jpg"))):
        yield vidseg.Frame(index, index / 24, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture) > 0


def tight_box(mask: npt.NDArray[np.bool_]) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def iou(mask: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def _speed(scores: list[SequenceScore]) -> str:
    frames = sum(score.num_frames for score in scores)
    wall, cpu = (sum(s.wall_s for s in scores), sum(s.cpu_s for s in scores))
    return f"{frames / wall:5.1f} frames/s  {1000 * cpu / frames:4.0f} CPU ms a frame"


if __name__ == "__main__":
    main()
