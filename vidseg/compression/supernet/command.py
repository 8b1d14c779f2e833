"""`vidseg compress --within-ms`: a subnet whose encoder takes no longer than a budget on this machine."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.compression.arguments import box_of, parts_of
from vidseg.errors import ConfigError
from vidseg.pipeline.commands.tracker_arguments import options_of

if TYPE_CHECKING:
    from vidseg.compression.cost import Cost
    from vidseg.compression.supernet.search import Found
    from vidseg.trackers.contract import Box
    from vidseg.trackers.options import TrackerOptions

REPORT = "supernet.json"
EPOCHS = 5
"""SuperSAM's number of epochs."""
PART = "image_encoder"

TAKES = frozenset({"device", "epochs"})


def add_arguments(parser: argparse.ArgumentParser, ways: argparse._MutuallyExclusiveGroup) -> None:
    ways.add_argument(
        "--within-ms",
        type=float,
        metavar="MS",
        help="find a subnet whose image encoder takes at most MS milliseconds here (SuperSAM)",
    )


def run(args: argparse.Namespace) -> int:
    from vidseg.compression.cost import said

    if parts_of(args) != [PART]:
        raise ConfigError(f"--parts {args.parts}", hint=f"--within-ms takes {PART} alone")
    found, cost = compress(
        options_of(args),
        args.within_ms,
        args.calibrate,
        args.out,
        box=box_of(args),
        frames=args.frames,
        epochs=EPOCHS if args.epochs is None else args.epochs,
    )
    if args.json:
        print(json.dumps({"found": asdict(found), **asdict(cost)}, indent=2))
        return 0
    print(said(cost))
    left_out = [number for number, units in enumerate(found.subnet) if not units]
    print(
        f"{found.ms:.1f} ms by the table of blocks, {found.seen} subnets judged; blocks left out: {left_out}"
    )
    print(f"vidseg track VIDEO --prompt FILE --tracker {args.out / 'tracker.yaml'}")
    return 0


def compress(
    asked: TrackerOptions,
    budget: float,
    calibrate: Path | None,
    out: Path,
    *,
    box: Box | None = None,
    frames: int = 16,
    epochs: int = EPOCHS,
) -> tuple[Found, Cost]:
    """Find a subnet and write it: `tracker.yaml`, `weights.safetensors` and the report.

    Args:
        asked: which tracker or image model, with a plain vision transformer; its device computes.
        budget: milliseconds of the image encoder for a picture, by the clock.
        calibrate: a folder of pictures, or a video; None: see `read_pictures`.
        out: the folder of the results, which must not exist or be empty. It appears when it is whole.
        box: an object on the pictures, of which masks are compared; None: the middle.
        frames: how many pictures are seen.
        epochs: of sandwich training.

    Raises:
        ConfigError: the budget is out of reach, or the model has no plain vision transformer.
        SourceError, DecodeError: the pictures cannot be read.
        CheckpointError: weights are missing or do not fit.
        OutputError: `out` holds something.
        RunError: training diverged.
    """
    from vidseg.compression.original import Original
    from vidseg.compression.supernet.make import find
    from vidseg.pipeline.atomic import check_free

    if not 0 < budget < math.inf:
        raise ConfigError(f"--within-ms {budget}", hint="give the budget in milliseconds, above 0")
    if epochs < 0:
        raise ConfigError(f"--epochs {epochs}", hint="give 0 or more")
    check_free(out)
    original = Original.of(asked, calibrate, frames, box)
    calls = original.calls_of(PART)
    kept = original.kept(out, epochs=epochs)
    made = find(
        original.source,
        calls,
        budget,
        epochs=epochs,
        tell=lambda line: print(line, file=sys.stderr),
        kept=kept,
    )
    cost = original.write_smaller(
        out,
        made.model,
        made.entries,
        calls={PART: calls},
        report=REPORT,
        facts={"budget_ms": budget, "epochs": epochs, "found": asdict(made.found)},
    )
    kept.forget()
    return made.found, cost
