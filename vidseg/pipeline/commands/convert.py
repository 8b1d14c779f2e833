"""`vidseg convert`: a finished run in the formats of annotation tools."""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidseg.errors import InputError
from vidseg.pipeline.read import read
from vidseg.pipeline.run_record import FILE_NAME as RUN_RECORD
from vidseg.pipeline.run_record import read_record
from vidseg.pipeline.writers.exchange import (
    EXCHANGE_FORMATS,
    VideoDescription,
    check_exchange_formats,
    convert,
)
from vidseg.pipeline.writers.masklets import FILE_NAME as MASKLETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a run that holds masklets.jsonl")
    parser.add_argument(
        "--format",
        metavar="LIST",
        required=True,
        help=f"one or several, with commas: {', '.join(EXCHANGE_FORMATS)}",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: the run's folder)")
    parser.add_argument("--json", action="store_true", help="print the files as JSON")


def run(args: argparse.Namespace) -> int:
    formats = [name.strip() for name in args.format.split(",") if name.strip()]
    check_exchange_formats(formats)
    masklets = args.run / MASKLETS
    if not masklets.is_file():
        raise InputError(
            f"there is no {MASKLETS} in '{args.run}'",
            hint="give the --out folder of a `vidseg track` run with the format rle (a default)",
        )
    out = args.out or args.run
    try:
        files = convert(masklets, formats, out, _describe_video(read_record(args.run / RUN_RECORD)))
    except OSError as error:
        raise InputError(
            f"'{out}' cannot be written to ({error.strerror})", hint="choose another --out"
        ) from None
    if args.json:
        print(json.dumps({"files": [str(path) for path in files]}))
    else:
        for path in files:
            print(path)
    return 0


def _describe_video(record: dict[str, Any]) -> VideoDescription:
    """What the run's record says of its video."""
    try:
        source, objects = record["source"], record["prompts"]["objects"]
        height, width = source["size_hw"]
        path = Path(source["path"]) if source["path"] else None
        rate = Fraction(source["frame_rate"]) if source["frame_rate"] else None
        return VideoDescription(
            name=path.stem if path else str(source["name"]),
            size_hw=(int(height), int(width)),
            labels={int(thing["id"]): str(thing.get("label") or "") for thing in objects},
            frame_rate=rate,
            num_frames=source["num_frames"],
            frame_names=_frame_names(path) if source["kind"] == "frames" else None,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise InputError("the run's run.json does not say what its video was") from None


def _frame_names(folder: Path | None) -> list[str] | None:
    """The names of a folder's frames, if it is still where the run found it; run.json has none."""
    if folder is None or not folder.is_dir():
        return None
    with read(folder) as source:
        return source.info.frame_names
