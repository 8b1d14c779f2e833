"""`vidseg compress`: its ways, each in a module of its own.

A way's module has `add_arguments(parser, ways)`, which adds the option that chooses it to the group `ways`,
`TAKES`, the options that not all ways take, and `run(args) -> exit code`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vidseg.compression import eight_bits, few_bits
from vidseg.compression.arguments import add_box
from vidseg.compression.slimming import command as slimming
from vidseg.compression.supernet import command as supernet
from vidseg.errors import ConfigError, SourceError
from vidseg.pipeline.commands.tracker_arguments import (
    DEVICE_HELP,
    add_model_arguments,
    check_tracker_name,
    take_name_as_tracker,
)

WAYS = {"int8": eight_bits, "simulate_bits": few_bits, "prune": slimming, "within_ms": supernet}
"""The option that chooses a way -> its module."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the tracker or image model, as --tracker")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="SOURCE",
        help="a clip like the videos to come, or, but for --int8, a folder of pictures; "
        "without it, but for --int8, frames of the video that 'vidseg demo' draws",
    )
    parser.add_argument(
        "--frames", type=int, default=16, metavar="N", help="frames or pictures of it (default: 16)"
    )
    parser.add_argument(
        "--parts",
        default="image_encoder",
        metavar="LIST",
        help="parts to compress, such as image_encoder,memory_attention (default: image_encoder)",
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="--prune and --within-ms: how often training sees them"
    )
    add_box(parser)
    ways = parser.add_mutually_exclusive_group(required=True)
    for module in WAYS.values():
        module.add_arguments(parser, ways)
    model = add_model_arguments(parser)
    model.add_argument("--device", metavar="D", help=f"--prune and --within-ms: {DEVICE_HELP}")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    take_name_as_tracker(args)
    check_tracker_name(args)
    ((name, way),) = ((name, way) for name, way in WAYS.items() if getattr(args, name) is not None)
    for option in sorted({option for other in WAYS.values() for option in other.TAKES} - way.TAKES):
        if getattr(args, option) is not None:
            takers = [_flag(other) for other, module in WAYS.items() if option in module.TAKES]
            raise ConfigError(
                f"--{option} does not go with {_flag(name)}", hint=f"it is for {' and '.join(takers)}"
            )
    if args.calibrate is None and way is eight_bits:
        raise ConfigError("--int8 needs a clip like the videos to come", hint="--calibrate CLIP")
    if args.calibrate is not None and not args.calibrate.exists():
        raise SourceError(
            f"'{args.calibrate}' does not exist", hint="--calibrate takes a clip, or a folder of pictures"
        )
    if args.calibrate is None:
        print(
            "vidseg: warning: calibrated on a drawn video; give pictures like yours: --calibrate SOURCE",
            file=sys.stderr,
        )
    return int(way.run(args))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
