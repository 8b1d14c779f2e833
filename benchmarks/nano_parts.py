"""What each part of vidseg-nano is worth: J and F on sequences of DAVIS 2016 without one of them.

    python benchmarks/nano_parts.py --root DAVIS [--set ImageSets/2016/val.txt] [--starts 4]
                                    [--prompt mask|box|click] [--weights FILE] [--parts NAME ...]

Parts around the model are switched off. Of the model's own reads one is blanked: keys and carried masks
then read as nothing, colours as undecided, motion and mismatch as none. The model was trained with all of
its reads: a figure says how much it leans on one, not how well a model trained without it would do.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from davis import mean_of, score_sequence
from torch import Tensor

import vidseg
from vidseg.trackers import closer_look
from vidseg.trackers.close_up import session
from vidseg.trackers.registry import read_config
from vidseg.trackers.space_time import continuity
from vidseg.trackers.space_time.grids import MASK_CHANNELS
from vidseg.trackers.space_time.video_model import SpaceTimeModel

TRACKER = "vidseg-nano"
WEIGHTS = Path(vidseg.__file__).parent / "weights" / "vidseg-nano.safetensors"
READS = {"mask, carried": 0.0, "mismatch": 0.0, "motion": 0.0, "colours": 0.5, "colours close by": 0.5}
"""Reads by pixels, in their order, and the values that mean nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the DAVIS folder")
    parser.add_argument("--set", default="ImageSets/2016/val.txt", help="file of names under the root")
    parser.add_argument("--starts", type=int, default=1, help="see benchmarks/davis.py")
    parser.add_argument("--prompt", choices=("mask", "box", "click"), default="mask")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS))
    args = parser.parse_args()

    sequences = (args.root / args.set).read_text().split()
    for name in args.parts or PARTS:
        with PARTS[name](args.weights) as tracker:
            mean = mean_of(
                [score_sequence(args.root, each, tracker, args.prompt, args.starts) for each in sequences]
            )
        print(f"without {name:<28} J {mean.mean_j:.3f}  F {mean.mean_f:.3f}", flush=True)


@contextmanager
def configured(weights: Path | None, **changes: Any) -> Iterator[Any]:
    """The tracker with other top-level settings."""
    config = {**read_config(TRACKER)[1], **changes}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "changed.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        yield vidseg.load(path, weights=weights or WEIGHTS)


@contextmanager
def with_constant(weights: Path | None, module: Any, name: str, value: float) -> Iterator[Any]:
    """The tracker while a constant of a module is another one."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield vidseg.load(TRACKER, weights=weights)
    finally:
        setattr(module, name, before)


@contextmanager
def without_prompt_decoder(weights: Path | None) -> Iterator[Any]:
    tracker: Any = vidseg.load(TRACKER, weights=weights)
    tracker.engine.model.prompt_decoder = None
    yield tracker


@contextmanager
def without_read(
    weights: Path | None, place: Callable[[SpaceTimeModel], slice], value: float
) -> Iterator[Any]:
    """The tracker whose memory never says something, which stands in some channels of what `attend` gives."""
    tracker: Any = vidseg.load(TRACKER, weights=weights)
    model = tracker.engine.model
    attend = model.attend

    def attend_without(*args: Any) -> Tensor:
        read: Tensor = attend(*args).clone()
        read[:, place(model)] = value
        return read

    model.attend = attend_without
    yield tracker


def of_map(index: int, model: SpaceTimeModel) -> slice:
    start = model.value_channels + 2 + index * MASK_CHANNELS
    return slice(start, start + MASK_CHANNELS)


PARTS: dict[str, Callable[[Path | None], Any]] = {
    "nothing": configured,
    "the close-up": partial(configured, close_up=False),
    "memories that move along": partial(with_constant, module=session, name="MOVABLE", value=1 + 1e-9),
    "the closer look at prompts": partial(with_constant, module=closer_look, name="LARGEST", value=0.0),
    "the network for prompts": without_prompt_decoder,
    "the rule for twins": partial(
        configured, bank={**read_config(TRACKER)[1]["bank"], "name": "recent-frames"}
    ),
    "the rule of what goes on": partial(with_constant, module=continuity, name="STAYS", value=0.0),
    "the rule of what breaks off": partial(with_constant, module=continuity, name="BREAKS_OFF", value=0.0),
    "keys": partial(without_read, place=lambda model: slice(0, model.value_channels), value=0.0),
    "likeness to the object": partial(
        without_read, place=lambda model: slice(model.value_channels, model.value_channels + 2), value=0.0
    ),
    **{
        name: partial(without_read, place=partial(of_map, index), value=nothing)
        for index, (name, nothing) in enumerate(READS.items())
    },
}


if __name__ == "__main__":
    main()
