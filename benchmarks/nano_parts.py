"""What each of vidseg-nano's reads is worth: J and F on DAVIS 2016 with one of them blanked while tracking.

    python benchmarks/nano_parts.py --root DAVIS [--prompt mask|box] [--weights FILE] [--parts NAME ...]

The model was trained with all of them: a figure says how much it leans on a read, not how well a model
trained without it would do. Blanked keys and carried masks read as nothing; colours as undecided; motion and
mismatch as none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from davis import score_sequence
from torch import Tensor

import vidseg
from vidseg.trackers.space_time.grids import MASK_CHANNELS
from vidseg.trackers.space_time.video_model import SpaceTimeModel


def channels_of(model: SpaceTimeModel) -> dict[str, tuple[slice, float]]:
    """Name of a read -> its channels in the result of `attend`, and the value that means nothing."""
    width = model.value_channels
    channels = {"keys": (slice(0, width), 0.0), "likeness to the object": (slice(width, width + 2), 0.0)}
    maps = {"mask, carried": 0.0, "mismatch": 0.0, "motion": 0.0, "colours": 0.5, "colours close by": 0.5}
    for index, (name, nothing) in enumerate(maps.items()):
        start = width + 2 + index * MASK_CHANNELS
        channels[name] = (slice(start, start + MASK_CHANNELS), nothing)
    return channels


def blanked(attend: Callable[..., Tensor], channels: slice, value: float) -> Callable[..., Tensor]:
    def attend_without(*args: Any) -> Tensor:
        read = attend(*args).clone()
        if args[1] is not None:  # without memory nothing is read
            read[:, channels] = value
        return read

    return attend_without


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the DAVIS folder")
    parser.add_argument("--prompt", choices=("mask", "box"), default="mask")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--parts", nargs="+")
    args = parser.parse_args()

    tracker = vidseg.load("vidseg-nano", weights=args.weights)
    model = tracker.engine.model  # type: ignore[attr-defined]
    attend = model.attend
    parts = {"nothing": None, **channels_of(model)}
    for name in args.parts or parts:
        part = parts[name]
        model.attend = attend if part is None else blanked(attend, *part)
        sequences = (args.root / "ImageSets/2016/val.txt").read_text().split()
        scores = [score_sequence(args.root, sequence, tracker, args.prompt) for sequence in sequences]
        mean_j, mean_f = np.mean([s.mean_j for s in scores]), np.mean([s.mean_f for s in scores])
        print(f"without {name:<28} J {mean_j:.3f}  F {mean_f:.3f}", flush=True)


if __name__ == "__main__":
    main()
