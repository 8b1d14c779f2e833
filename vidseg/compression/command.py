"""`vidseg compress`: its ways, each in a module with `add_arguments(parser)` and `run(args) -> exit code`."""

from __future__ import annotations

import argparse
from pathlib import Path

from vidseg.compression import eight_bits
from vidseg.pipeline.commands.tracker_arguments import add_tracker_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the tracker or image model, as --tracker")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    ways = parser.add_mutually_exclusive_group(required=True)
    ways.add_argument(
        "--int8", dest="way", action="store_const", const=eight_bits, help="quantise to eight bits"
    )
    parser.add_argument(
        "--calibrate", type=Path, required=True, metavar="SOURCE", help="a clip like the videos to come"
    )
    parser.add_argument(
        "--frames", type=int, default=16, metavar="N", help="frames of it that are seen (default: 16)"
    )
    eight_bits.add_arguments(parser)
    add_tracker_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    if args.name is not None:
        args.tracker = args.name
    return int(args.way.run(args))
