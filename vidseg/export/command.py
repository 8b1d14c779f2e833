"""`vidseg export`: a model's parts as ONNX graphs or torch.export packages."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vidseg.pipeline.commands.tracker_arguments import (
    add_model_arguments,
    check_tracker_name,
    options_of,
    take_name_as_tracker,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the tracker or image model, as --tracker")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--format", choices=["onnx", "pt2"], default="onnx", help="default: onnx")
    parser.add_argument(
        "--dtype",
        dest="graph_dtype",
        choices=["float32", "float16"],
        default="float32",
        help="what the graphs compute in (default: float32); float16 nearly halves the files",
    )
    add_model_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")


def run(args: argparse.Namespace) -> int:
    take_name_as_tracker(args)
    check_tracker_name(args)
    from vidseg.export.write import export

    def tell(name: str, path: Path) -> None:
        if not args.json:
            print(f"{name:<18}{path.stat().st_size / 1e6:9.1f} MB")

    facts = export(options_of(args), args.out, format=args.format, dtype=args.graph_dtype, on_part=tell)
    if args.json:
        print(json.dumps(facts, indent=2))
    elif args.format == "onnx":
        print(f"vidseg track VIDEO --prompt FILE --tracker {args.out / 'tracker.yaml'}")
    return 0
