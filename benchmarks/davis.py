"""J and F of a tracker on the DAVIS 2016 validation sequences, from the first frame's mask, box or a click.

    python benchmarks/davis.py --root DAVIS [--prompt mask|box|click] [--tracker NAME] [--weights FILE]
                               [--image-size S] [--set ImageSets/2016/val.txt] [--follow flow-prior|nanosam]
                               [--starts N]

With --follow the tracker's image model follows the object without its memory, by a rule of
`vidseg.trackers.following`.

With --starts each sequence is also followed from later frames to its end: with 4 from the first frame, and
after a quarter, a half and three quarters of it. So few sequences say more of a tracker.

The box is the tight one, the click the point of the object that is furthest from its contour.

DAVIS holds JPEGImages/480p, Annotations/480p and ImageSets/2016/val.txt. The first and the last frame of a
sequence are left out, as DAVIS does; a figure is the mean over frames, then over sequences. Speed counts
`session.step` alone, without decoding: frames a second by the clock, and CPU milliseconds a frame.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

import vidseg
from vidseg.eval.metrics import boundary_f, region_j
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.contract import Tracker
from vidseg.trackers.following import FollowingTracker
from vidseg.trackers.following.rules import FOLLOWING
from vidseg.training.prompts import prompt_of

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SequenceScore:
    """The scores of one sequence, and the time that tracking it took."""

    mean_j: float
    mean_f: float
    num_frames: int
    wall_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the DAVIS folder")
    parser.add_argument("--prompt", choices=("mask", "box", "click"), default="mask")
    parser.add_argument("--tracker", default=DEFAULT_TRACKER, help="name or YAML")
    parser.add_argument("--weights", type=Path, help="a file; without it, the tracker's own")
    parser.add_argument("--image-size", type=int)
    parser.add_argument(
        "--follow", choices=list(FOLLOWING), help="follow by the image model alone, with this rule"
    )
    parser.add_argument(
        "--set", default="ImageSets/2016/val.txt", help="file of sequence names under the root"
    )
    parser.add_argument("--starts", type=int, default=1, help="how many in each sequence")
    args = parser.parse_args()

    tracker: Tracker
    if args.follow:
        segmenter = vidseg.load_image(args.tracker, weights=args.weights)
        tracker = FollowingTracker(segmenter, {"name": args.follow})
    else:
        tracker = vidseg.load(args.tracker, weights=args.weights, image_size=args.image_size)
    scores = {}
    for name in (args.root / args.set).read_text().split():
        scores[name] = score = score_sequence(args.root, name, tracker, args.prompt, args.starts)
        print(_line(name, score), flush=True)
    print(_line(f"mean of {len(scores)}, {args.prompt}", mean_of(list(scores.values()))))


def score_sequence(root: Path, name: str, tracker: Tracker, prompt: str, starts: int = 1) -> SequenceScore:
    """Track one sequence, all its annotated foreground as one object, and score it.

    Args:
        starts: from so many frames of it, of which those without the object are left out.
    """
    truths = truths_of(root / "Annotations/480p" / name)
    frames = list(frames_of(root / "JPEGImages/480p" / name))
    firsts = [len(truths) * start // starts for start in range(starts)]
    return mean_of(
        [score_from(frames[first:], truths, tracker, prompt) for first in firsts if truths[first].any()]
    )


def mean_of(scores: Sequence[SequenceScore]) -> SequenceScore:
    """Mean scores, and how many frames and how much time they took together."""
    return SequenceScore(
        float(np.mean([score.mean_j for score in scores])),
        float(np.mean([score.mean_f for score in scores])),
        sum(score.num_frames for score in scores),
        sum(score.wall_s for score in scores),
        sum(score.cpu_s for score in scores),
    )


def score_from(
    frames: Sequence[vidseg.Frame], truths: Sequence[Mask], tracker: Tracker, prompt: str
) -> SequenceScore:
    """Track through frames of a sequence from a prompt on their first one."""
    session = tracker.start(num_frames=len(truths))
    session.prompt(1, **prompt_of(prompt, truths[frames[0].index]))
    js, fs, wall_s, cpu_s = [], [], 0.0, 0.0
    for frame in frames:
        wall, cpu = time.perf_counter(), time.process_time()
        mask = session.step(frame).masks[0]
        wall_s += time.perf_counter() - wall
        cpu_s += time.process_time() - cpu
        js.append(region_j(mask, truths[frame.index]))
        fs.append(boundary_f(mask, truths[frame.index]))
    return SequenceScore(float(np.mean(js[1:-1])), float(np.mean(fs[1:-1])), len(js), wall_s, cpu_s)


def frames_of(folder: Path) -> Iterator[vidseg.Frame]:
    for index, path in enumerate(sorted(folder.glob("*.jpg"))):
        yield vidseg.Frame(index, index / 24, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))


def truths_of(folder: Path) -> list[Mask]:
    return [read_mask(path) for path in sorted(folder.glob("*.png"))]


def read_mask(path: Path) -> Mask:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture) > 0


def _line(name: str, score: SequenceScore) -> str:
    return (
        f"{name:<24} J {score.mean_j:.3f}  F {score.mean_f:.3f}  "
        f"J&F {(score.mean_j + score.mean_f) / 2:.3f}  {score.num_frames / score.wall_s:5.1f} frames/s  "
        f"{1000 * score.cpu_s / score.num_frames:4.0f} CPU ms a frame"
    )


if __name__ == "__main__":
    main()
