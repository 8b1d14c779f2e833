"""Does a tracker say that an object is gone, and find it again?

    python benchmarks/vanishing.py [--clips 40] [--tracker NAME ...] [--weights FILE]
                                   [--prompt mask|box|click] [--seed N] [--davis DAVIS --set FILE]

On made clips of 24 frames the object leaves the picture, or goes behind a cover, and comes back. Counted are
- frames on which no pixel of it is seen: the share on which its state is 'absent';
- frames on which it is seen: the same share, as a tracker that always says 'absent' would do well above;
- returns, with at least half of the first frame's pixels seen again: the share on which the mask of one
  of the first five such frames has an IoU of 0.5 or more with the truth.

Clips are made of shapes and textures from numbers alone, from seeds that training does not use. With
`--davis`, the same is counted on real sequences with masks in DAVIS's layout.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from davis import frames_of, truths_of

import vidseg
from vidseg.eval.metrics import region_j
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.contract import Tracker
from vidseg.training.data import Clip, ClipMaker, ClipSettings
from vidseg.training.data.dataset import clip_seed
from vidseg.training.prompts import prompt_of

BASE_SEED = 10**9
NUM_FRAMES = 24
GRACE_FRAMES = 5
FOUND_IOU = 0.5


@dataclass
class Tally:
    """The answers of a tracker on clips whose object goes and comes back."""

    gone: list[bool] = field(default_factory=list)
    """For each frame without the object, whether it was called absent."""
    here: list[bool] = field(default_factory=list)
    """For each frame with the object, whether it was called absent."""
    returns: list[bool] = field(default_factory=list)
    """For each return of the object, whether it was found."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--tracker", nargs="+", default=[DEFAULT_TRACKER], help="names or YAMLs")
    parser.add_argument("--weights", type=Path, help="a file; without it, the tracker's own")
    parser.add_argument("--prompt", choices=("mask", "box", "click"), default="mask")
    parser.add_argument("--seed", type=int, default=BASE_SEED, help="of the clips")
    parser.add_argument("--size", type=int, default=384, help="pixels of a clip's side")
    parser.add_argument("--davis", type=Path, help="a folder of real sequences, in place of made clips")
    parser.add_argument("--set", default="ImageSets/2016/val.txt", help="file of their names in the folder")
    args = parser.parse_args()

    clips = clips_with_returns(args.clips, args.size, args.seed) if args.davis is None else []
    for name in args.tracker:
        tracker, tally = vidseg.load(name, weights=args.weights), Tally()
        for clip in clips if args.davis is None else real_clips(args.davis, args.set):
            follow(tracker, clip, args.prompt, tally)
        print(
            f"{name}, {args.prompt}: absent on {np.mean(tally.gone):.1%} of {len(tally.gone)} frames without "
            f"the object and {np.mean(tally.here):.1%} of {len(tally.here)} with it; found at "
            f"{np.mean(tally.returns):.1%} of {len(tally.returns)} returns"
        )


def clips_with_returns(count: int, size: int, seed: int) -> list[Clip]:
    """The first clips of the seed on which the object is gone for three frames or more, and comes back."""
    settings = ClipSettings(size=size, num_frames=NUM_FRAMES, vanish=1.0)
    maker = ClipMaker(settings)
    clips: list[Clip] = []
    index = 0
    while len(clips) < count:
        clip = maker.make(clip_seed(seed, index))
        index += 1
        if np.count_nonzero(areas(clip) == 0) >= 3 and return_of(clip) is not None:
            clips.append(clip)
    return clips


def real_clips(root: Path, listed: str) -> Iterator[Clip]:
    for name in (root / listed).read_text().split():
        frames = frames_of(root / "JPEGImages/480p" / name)
        truths = truths_of(root / "Annotations/480p" / name)
        yield Clip(np.stack([frame.image for frame in frames]), np.stack(truths))


def areas(clip: Clip) -> npt.NDArray[np.int64]:
    return np.count_nonzero(clip.masks, axis=(1, 2))


def return_of(clip: Clip) -> int | None:
    """The first frame after a gap that shows half of the object again."""
    area = areas(clip)
    gone = np.flatnonzero(area == 0)
    back = np.flatnonzero(area >= 0.5 * area[0])
    back = back[back > gone[0]] if len(gone) else back[:0]
    return int(back[0]) if len(back) and back[0] + GRACE_FRAMES <= len(area) else None


def follow(tracker: Tracker, clip: Clip, prompt: str, tally: Tally) -> None:
    session = tracker.start(num_frames=len(clip.images))
    first = clip.masks[0]
    session.prompt(1, **prompt_of(prompt, first))
    back = return_of(clip)
    ious = []
    for index, (image, truth) in enumerate(zip(clip.images, clip.masks, strict=True)):
        result = session.step(vidseg.Frame(index, index / 24, image))
        is_absent = result.states[0] == "absent"
        (tally.here if truth.any() else tally.gone).append(is_absent)
        ious.append(region_j(result.masks[0], truth))
    if back is not None:
        tally.returns.append(max(ious[back : back + GRACE_FRAMES]) >= FOUND_IOU)


if __name__ == "__main__":
    main()
