"""`vidseg compress`: its ways, each in a module of its own.

A way's module has `add_arguments(parser, ways)`, which adds the option that chooses it to the group `ways`,
and `run(args) -> exit code`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vidseg.compression import eight_bits, few_bits
from vidseg.compression.arguments import add_box
from vidseg.compression.slimming import command as slimming
from vidseg.compression.supernet import command as supernet
from vidseg.pipeline.commands.tracker_arguments import add_tracker_arguments

WAYS = {"int8": eight_bits, "bits": few_bits, "prune": slimming, "within_ms": supernet}
"""The option that chooses a way -> its module."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the tracker or image model, as --tracker")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--calibrate",
        type=Path,
        required=True,
        metavar="SOURCE",
        help="a clip like the videos to come, or, but for --int8, a folder of pictures",
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
        "--epochs", type=int, metavar="N", help="how often training, if the way has any, sees them"
    )
    add_box(parser)
    ways = parser.add_mutually_exclusive_group(required=True)
    for module in WAYS.values():
        module.add_arguments(parser, ways)
    add_tracker_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    if args.name is not None:
        args.tracker = args.name
    (way,) = (module for option, module in WAYS.items() if getattr(args, option) is not None)
    return int(way.run(args))
