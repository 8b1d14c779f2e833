"""`vidseg convert`: writes a finished run in the formats of annotation tools."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vidseg.pipeline.convert import convert
from vidseg.pipeline.formats import export_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a run that holds masklets.jsonl")
    parser.add_argument(
        "--format",
        metavar="LIST",
        required=True,
        help=f"one or several, with commas: {', '.join(export_names())}",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: the run's folder)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files of these formats in another --out"
    )
    parser.add_argument("--json", action="store_true", help="print the files as JSON")


def run(args: argparse.Namespace) -> int:
    formats = [name.strip() for name in args.format.split(",") if name.strip()]
    files = convert(args.run, formats, args.out, overwrite=args.overwrite)
    if args.json:
        print(json.dumps({"files": [str(path) for path in files]}))
    else:
        for path in files:
            print(path)
    return 0
