"""Files that are there whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidseg.pipeline.file_names import ESCAPED

PART = ".part"
"""Suffix of a file that is still being written."""


def write_bytes(path: Path, data: bytes) -> None:
    """`data` as the file `path`; a reader sees the old file or the new one, never half of one."""
    part = path.with_name(path.name + PART)
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            # Else a power cut could leave the new name on an empty file.
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON in the file `path`.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode(errors=ESCAPED))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The hidden path of a file or folder to be made, which becomes `path` when the block ends.

    Nothing is left of it where the block raises; what was at `path` before stays until the new one is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{PART}")
    _remove(part)
    try:
        yield part
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)  # a folder cannot be renamed over another one
        os.replace(part, path)
    except BaseException:
        _remove(part)
        raise


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
