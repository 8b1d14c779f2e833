"""`vidseg weights`: downloads published weights, and verifies those that are here."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidseg.errors import CheckpointError
from vidseg.exit_codes import EXIT_FAILED
from vidseg.trackers.registry import TRACKERS, read_config
from vidseg.trackers.weights import (
    PUBLISHED,
    Published,
    cache_folder,
    cached_path,
    download,
    find_weights,
    published,
    sha256_of,
    verify,
)

EXAMPLES = {
    "get": "vidseg weights get sam2.1-hiera-tiny edgetam",
    "list": "vidseg weights list --json",
    "path": "vidseg weights path sam2.1-hiera-tiny",
    "verify": "vidseg weights verify",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    get = actions.add_parser("get", help="download the weights of trackers from their official addresses")
    get.add_argument("names", nargs="+", metavar="NAME", help="a tracker's name; see 'vidseg weights list'")
    get.add_argument("--to", type=Path, metavar="DIR", help="folder for the files (default: the cache)")
    get.add_argument("--json", action="store_true", help="print the files as JSON")
    listing = actions.add_parser("list", help="all published weights, and which are here")
    listing.add_argument("--json", action="store_true", help="as JSON")
    path = actions.add_parser("path", help="print where the file of a tracker's weights is")
    path.add_argument("name", metavar="NAME")
    check = actions.add_parser("verify", help="read files in full and check their digests")
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all that are here")
    for name, action in actions.choices.items():
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        action.epilog = f"example:\n  {EXAMPLES[name]}"
        # An action is parsed on its own, so it needs --debug as well.
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    if args.action == "get":
        return _get(args.names, args.to, as_json=args.json)
    if args.action == "path":
        print(_packaged(args.name) or find_weights(args.name))
        return 0
    if args.action == "verify":
        return _verify(args.names)
    return _list(args.json)


def _get(names: list[str], folder: Path | None, *, as_json: bool) -> int:
    for name in names:  # what cannot be had is told before the first long download
        if _packaged(name) is None:
            if name in TRACKERS and name not in PUBLISHED:
                raise CheckpointError(
                    f"there are no weights of '{name}' to download", hint="vidseg models tells what it needs"
                )
            published(name)
    rows = []
    for name in names:
        if (packaged := _packaged(name)) is not None:
            print(f"the weights of '{name}' are in the package: nothing to download", file=sys.stderr)
            rows.append(_File(name, packaged, "Apache-2.0", sha256_of(packaged)))
            continue
        if (restriction := published(name).restriction) is not None:
            print(restriction, file=sys.stderr)
        path = _download_with_bar(name, folder)
        rows.append(_File(name, path, published(name).licence, verify(path, published(name))))
        if not as_json:
            print(f"{path}\n  licence: {rows[-1].licence}\n  SHA-256: {rows[-1].sha256}")
    if as_json:
        print(json.dumps([{**asdict(row), "path": str(row.path)} for row in rows], indent=2))
    return 0


def _packaged(name: str) -> Path | None:
    """The weights of a tracker of vidseg's own that brings them."""
    is_own = name in TRACKERS and TRACKERS.added_by(name) is None
    own = read_config(name)[1].get("weights") if is_own else None
    return Path(own).resolve() if own is not None and Path(own).is_file() else None


@dataclass(frozen=True)
class _File:
    """Weights that are here now."""

    name: str
    path: Path
    licence: str
    sha256: str


def _download_with_bar(name: str, folder: Path | None) -> Path:
    from tqdm import tqdm

    # Only on a terminal (disable=None), as logs would get a line per step.
    with tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=None, file=sys.stderr) as bar:

        def show(here: int, whole: int | None) -> None:
            bar.total = whole
            bar.n = here
            bar.refresh() if here == whole else bar.update(0)

        return download(
            name,
            folder,
            on_progress=show,
            on_wait=lambda reason: bar.write(f"{name}: {reason}", file=sys.stderr),
        )


def _verify(names: list[str]) -> int:
    paths: dict[Path, Published] = {}
    for name in names or PUBLISHED:
        path = cached_path(name)
        if path is not None:
            paths[path] = published(name)
        elif names:
            raise CheckpointError(
                f"the weights of '{name}' are not on this machine", hint=f"vidseg weights get {name}"
            )
    if not paths:
        print(f"no weights in {cache_folder()}")
        return 0
    code = 0
    for path, wanted in paths.items():
        try:
            digest = verify(path, wanted, in_full=True)
        except CheckpointError as error:
            print(f"WRONG {path.name}: {error.message}\n  fix: {error.hint}")
            code = EXIT_FAILED
        else:
            print(f"ok    {path.name}: SHA-256 {digest}")
    return code


def _list(as_json: bool) -> int:
    rows = [_row(name, wanted) for name, wanted in PUBLISHED.items()]
    if as_json:
        print(json.dumps({"folder": str(cache_folder()), "weights": rows}, indent=2))
        return 0
    width = max(map(len, PUBLISHED))
    for row in rows:
        here = "here" if row["path"] else "-"
        source = row["url"] or f"by hand: {row['by_hand']}"
        print(f"{row['name']:<{width}}  {here:<4}  {row['licence'].split(';')[0]:<24}  {source}")
    print(f"\nfolder: {cache_folder()} (set VIDSEG_CACHE for another)")
    return 0


def _row(name: str, wanted: Published) -> dict[str, Any]:
    path = cached_path(name)
    return {
        "name": name,
        "file": wanted.file_name,
        "path": str(path) if path else None,
        "licence": wanted.licence,
        "page": wanted.page,
        "url": wanted.url,
        "by_hand": wanted.by_hand,
        "sha256": wanted.sha256,
    }
