"""Figures that were measured on this machine, kept in the cache folder so that they are measured once.

<cache>/measured/<name>-<digest>.json holds what the figures depend on, and the figures.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "VIDSEG_CACHE"


def cache_root() -> Path:
    """The folder of all that vidseg keeps, which may not exist: $VIDSEG_CACHE, or the platform's own."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("vidseg", appauthor=False))


def kept_figures(
    name: str, depends_on: Mapping[str, Any], measure: Callable[[], Mapping[str, float]]
) -> dict[str, float]:
    """The figures that `measure` gave when it was last called with the same `depends_on`.

    A file that is missing, damaged or about something else is measured and written anew. A cache that cannot
    be written to costs a measurement each time, and nothing else.

    Args:
        name: a name for files.
        depends_on: all that may change the figures, as JSON values: the processor, versions, ...
        measure: gives figures above 0.
    """
    key = json.loads(json.dumps(depends_on))
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_root() / "measured" / f"{name}-{digest}.json"
    figures = _read(path, key)
    if figures is None:
        figures = {what: float(value) for what, value in measure().items()}
        with contextlib.suppress(OSError):
            _write(path, {"depends_on": key, "figures": figures})
    return figures


def _read(path: Path, key: Mapping[str, Any]) -> dict[str, float] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        figures = {str(what): float(value) for what, value in document["figures"].items()}
        is_good = document["depends_on"] == key and bool(figures)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return figures if is_good and all(0 < value < math.inf for value in figures.values()) else None


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two processes from writing one temporary file.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
