"""`vidseg score`: score masks that exist already."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vidseg.errors import InputError
from vidseg.eval.protocols import PROTOCOLS, names_with_no_skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "protocol",
        metavar="PROTOCOL",
        help=", ".join(PROTOCOLS.known),
    )
    parser.add_argument("--gt", type=Path, required=True, metavar="DIR", help="ground truth")
    parser.add_argument(
        "--pred",
        type=Path,
        required=True,
        metavar="DIR",
        help="masks to be scored: a folder for each sequence; or a run of vidseg track, or a folder of runs",
    )
    parser.add_argument(
        "--meta", type=Path, metavar="FILE", help="the data set's meta file, if it is not in the --gt folder"
    )
    parser.add_argument("--json", metavar="FILE", help="write the scores as JSON ('-': print them)")
    parser.add_argument("--per-frame", action="store_true", help="with the values of every frame")
    parser.add_argument(
        "--no-skip",
        action="store_true",
        help=f"{', '.join(names_with_no_skip())}: count the first and last frame, too",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")


def run(args: argparse.Namespace) -> int:
    from vidseg.eval.scoring import score
    from vidseg.pipeline.atomic import check_file, write_json

    if args.workers < 1:
        raise InputError(f"--workers {args.workers}", hint="give 1 or more")
    if args.json not in (None, "-"):
        check_file(Path(args.json), "--json")
    document = score(
        args.protocol,
        args.gt,
        args.pred,
        meta=args.meta,
        no_skip=args.no_skip,
        per_frame=args.per_frame,
        workers=args.workers,
    )
    if args.json == "-":
        print(json.dumps(document, indent=2, allow_nan=False))
        return 0
    print(as_text(document))
    if args.json is not None:
        write_json(Path(args.json), document)
    return 0


def as_text(document: dict[str, Any]) -> str:
    """The scores as tables: the whole set, then every object."""
    rows = [
        (sequence, obj, {k: v for k, v in values.items() if not isinstance(v, list)})
        for sequence, objects in document["objects"].items()
        for obj, values in objects.items()
    ]
    keys = list(rows[0][2])
    width = max(len(name) for name, *_ in rows)
    lines = [f"{document['protocol']}: {len(document['objects'])} sequences, {len(rows)} objects", ""]
    lines += [f"  {key:<20}{_number(value)}" for key, value in document["global"].items()]
    lines += ["", f"  {'sequence':<{width}} object " + " ".join(f"{key:>{max(8, len(key))}}" for key in keys)]
    lines += [
        f"  {name:<{width}} {obj:>6} " + " ".join(f"{_number(of[key]):>{max(8, len(key))}}" for key in keys)
        for name, obj, of in rows
    ]
    return "\n".join(lines)


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
