"""`vidseg compress --prune`: a model with fewer channels, and what that brings and costs."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.compression.arguments import box_of, parts_of
from vidseg.errors import ConfigError
from vidseg.pipeline.commands.tracker_arguments import options_of

if TYPE_CHECKING:
    from vidseg.compression.cost import Cost
    from vidseg.trackers.contract import Box
    from vidseg.trackers.options import TrackerOptions

REPORT = "slimming.json"
EPOCHS = 20
"""Epochs after each step; the first half, ten as in SlimSAM, also learn the features inside."""

TAKES = frozenset({"device", "epochs"})


def add_arguments(parser: argparse.ArgumentParser, ways: argparse._MutuallyExclusiveGroup) -> None:
    ways.add_argument(
        "--prune",
        type=float,
        metavar="SHARE",
        help="remove this share of the channels, such as 0.5 (SlimSAM)",
    )


def run(args: argparse.Namespace) -> int:
    cost = compress(
        options_of(args),
        args.prune,
        args.calibrate,
        args.out,
        parts_of(args),
        box=box_of(args),
        frames=args.frames,
        epochs=EPOCHS if args.epochs is None else args.epochs,
    )
    if args.json:
        print(json.dumps(asdict(cost), indent=2))
    else:
        from vidseg.compression.cost import said

        print(said(cost))
        print(f"vidseg track VIDEO --prompt FILE --tracker {args.out / 'tracker.yaml'}")
    return 0


def compress(
    asked: TrackerOptions,
    share: float,
    calibrate: Path | None,
    out: Path,
    parts: list[str],
    *,
    box: Box | None = None,
    frames: int = 16,
    epochs: int = EPOCHS,
) -> Cost:
    """Slim a model and write it: `tracker.yaml`, `weights.safetensors` and the report.

    Args:
        asked: which tracker or image model; its device computes.
        share: of the channels that are removed.
        calibrate: a folder of pictures, or a video, which memory attention needs; None: see `read_pictures`.
        out: the folder of the results, which must not exist or be empty. It appears when it is whole.
        parts: 'image_encoder', 'memory_attention'.
        box: an object on the pictures, which memory attention follows, and of which masks are compared; None:
            the middle.
        frames: how many pictures are seen.
        epochs: of distillation after each step.

    Raises:
        ConfigError: the share is out of range, or the model has no such part.
        SourceError, DecodeError: the pictures cannot be read.
        CheckpointError: weights are missing or do not fit.
        OutputError: `out` holds something.
        RunError: distillation diverged.
    """
    from vidseg.compression.original import Original
    from vidseg.compression.slimming.alternation import slim
    from vidseg.compression.slimming.parts import part_of
    from vidseg.pipeline.atomic import check_free

    if not 0 < share < 1:
        raise ConfigError(
            f"--prune {share}", hint="give the share of channels to remove, above 0 and below 1"
        )
    if epochs < 0:
        raise ConfigError(f"--epochs {epochs}", hint="give 0 or more")
    check_free(out)
    original = Original.of(asked, calibrate, frames, box)
    source = original.source
    for name in parts:
        part_of(source.model, name, source.where)
    calls = {name: original.calls_of(name) for name in parts}
    kept = original.kept(out, prune=share, parts=parts, epochs=epochs)
    slimmed = slim(
        source, share, calls, epochs=epochs, tell=lambda line: print(line, file=sys.stderr), kept=kept
    )
    cost = original.write_smaller(
        out,
        slimmed.model,
        slimmed.entries,
        calls=calls,
        report=REPORT,
        facts={"share": share, "epochs": epochs},
    )
    kept.forget()
    return cost
