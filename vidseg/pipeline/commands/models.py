"""`vidseg models`: lists the trackers that can be used, and where their weights come from."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from vidseg.errors import ConfigError, one_line
from vidseg.trackers.registry import TRACKERS, read_config, tracker_names
from vidseg.trackers.weights import PUBLISHED, cached_path, layout_of, sha256_of, tracker_of
from vidseg.trackers.weights.cache import recorded_digest

TITLES: tuple[str, ...] = (
    "name",
    "family",
    "parameters",
    "input",
    "weights",
    "checksum",
    "licence",
    "source",
)


CHECKSUM_WIDTH = 16
"""So much of a checksum is in the table: its kind and eight digits. The JSON has all of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    rows = []
    for name in tracker_names():
        try:
            rows.append(describe_model(name))
        except ConfigError as error:  # a plug-in is broken; list the other trackers
            print(
                f"vidseg: warning: tracker '{name}' is left out: {one_line(error.message)}", file=sys.stderr
            )
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = [TITLES, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\nvidseg weights get NAME fetches weights; --weights FILE takes a file of your own.")
    return 0


def describe_model(name: str) -> dict[str, Any]:
    """Facts about a tracker before it is built, as JSON values.

    `weights` is 'none' (it needs none), 'here', 'missing' (`vidseg weights get` downloads them), 'by hand' (a
    person has to get them) or 'unknown' (no weights are published). `checksum` begins with its kind:
    'sha256:', or 'git:' for the name of an object in a Git repository.
    """
    _, config = read_config(name)
    plugin = TRACKERS.added_by(name)
    kind = config.get("kind")
    # The official predictor is built from an official configuration, and reads the weights that belong to it.
    model = tracker_of(config["config"]) if kind == "sam2-reference" else name
    layout = layout_of(model)
    wanted = PUBLISHED.get(model)
    own = config.get("weights")
    if kind == "flow":
        weights = "none"
    elif own is not None:
        weights = "here" if Path(own).is_file() else "missing"
    elif wanted is None:
        weights = "unknown"
    elif cached_path(model) is not None:
        weights = "here"
    else:
        weights = "missing" if wanted.url else "by hand"
    return {
        "name": name,
        "kind": kind,
        "family": layout.family if layout else None,
        "parameters": layout.num_params if layout else None,
        "image_size": config.get("image_size") or (wanted.image_size if wanted else None),
        "weights": weights,
        "checksum": _checksum(model, own),
        "licence": wanted.licence if wanted else "Apache-2.0" if own and plugin is None else None,
        "source": wanted.page if wanted else plugin or ("in the package" if own else None),
    }


def _checksum(model: str, own: str | None) -> str | None:
    """That of the file that is here, or what its authors publish; None: neither is there."""
    if own is not None:
        return f"sha256:{sha256_of(own)}" if Path(own).is_file() else None
    if model not in PUBLISHED:
        return None
    path = cached_path(model)
    digest = None if path is None else recorded_digest(path)
    return PUBLISHED[model].checksum if digest is None else f"sha256:{digest}"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    parameters = f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] else "-"
    size = f"{row['image_size']} px" if row["image_size"] else "-"
    licence = (row["licence"] or "-").split(";")[0]
    return (
        row["name"],
        row["family"] or "-",
        parameters,
        size,
        row["weights"],
        (row["checksum"] or "-")[:CHECKSUM_WIDTH],
        licence,
        row["source"] or "-",
    )
