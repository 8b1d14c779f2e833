"""The folder of an evaluation: what is evaluated is written into it first; --resume must agree with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vidseg.errors import OutputError
from vidseg.pipeline.atomic import write_json

ABOUT, RESULTS = "evaluation.json", "results.json"


def check_folder(out: Path, *, resume: bool) -> None:
    """Check that a folder is free for an evaluation, or holds the one to go on with.

    Raises:
        OutputError: it is neither.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"the output '{out}' is a file", hint="give the name of a folder as --out")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / ABOUT).is_file():
        raise OutputError(f"'{out}' holds something else than an evaluation", hint="choose another --out")
    if not resume:
        raise OutputError(
            f"'{out}' holds an evaluation already", hint="--resume goes on with it; or choose another --out"
        )


def about_before(out: Path) -> dict[str, Any]:
    """What the evaluation in a folder is about; empty if none is there, or it cannot be read."""
    try:
        about = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def claim(out: Path, about: dict[str, Any]) -> None:
    """Write what is evaluated; if it is written already, check that it is the same.

    Raises:
        OutputError: it is another evaluation, or the folder cannot be used.
    """
    if (out / ABOUT).is_file():
        earlier = about_before(out)
        differing = [key for key, value in about.items() if earlier.get(key) != value]
        if differing:
            raise OutputError(
                f"the evaluation in '{out}' was made with another {', '.join(differing)}",
                hint="give what it was made with, or choose another --out",
            )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / ABOUT, about)
    except OSError as error:
        raise OutputError(f"the output folder '{out}' cannot be used ({error.strerror})") from None
