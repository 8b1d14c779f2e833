"""Writes files whole or not at all: under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from vidseg.errors import InputError, OutputError
from vidseg.pipeline.file_names import ESCAPED

PART = ".part"
"""Suffix of a file that is still being written."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` as the file `path`; readers see the old file or the new one, never half of one."""
    part = path.with_name(path.name + PART)
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            # Without this a power cut could leave an empty file under the new name.
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to the file `path`.

    Raises:
        ValueError: it holds NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode(errors=ESCAPED))


@contextlib.contextmanager
def replacing(path: Path, *, entries: Collection[str] = ()) -> Iterator[Path]:
    """A hidden path at which to make a file or folder; it becomes `path` when the block ends.

    If the block raises, nothing is left of it. What was at `path` before stays until the new one is whole.

    Args:
        entries: names of all that may have been written into a folder at `path`; only these are replaced, as
            people may keep files of their own beside them. If there are none, the whole folder is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{PART}")
    _remove(part)
    try:
        yield part
        if entries and part.is_dir() and path.is_dir():
            _replace_entries(part, path, entries)
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)  # a folder cannot be renamed over another one
        os.replace(part, path)
    except BaseException:
        _remove(part)
        raise


def _replace_entries(part: Path, folder: Path, entries: Collection[str]) -> None:
    """Give `folder` the entries of `part`, by renaming alone; old ones go when all new ones are there."""
    new = {path.name for path in part.iterdir()}
    for name in sorted(new.union(entries)):
        if os.path.lexists(folder / name):
            os.rename(folder / name, part / f".{name}{PART}")
        if name in new:
            os.rename(part / name, folder / name)
    shutil.rmtree(part)


def check_free(out: Path) -> None:
    """Check before long work that the place of the results is free, and that a folder can be made there.

    Raises:
        OutputError: something is there, or none can.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"the output '{out}' is there already", hint="choose another --out")
    inside = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not inside.is_dir() or not os.access(inside, os.W_OK | os.X_OK):
        why = "is not a folder" if not inside.is_dir() else "may not be written to"
        raise OutputError(f"the output '{out}' cannot be made: '{inside}' {why}", hint="choose another --out")


def check_file(path: Path, option: str) -> None:
    """Check before long work that a file can be written at the place that an option names.

    Raises:
        InputError: there is no such folder, or one has the file's name.
    """
    if not path.absolute().parent.is_dir():
        raise InputError(f"there is no folder for {option} '{path}'")
    if path.is_dir():
        raise InputError(f"{option} '{path}' is a folder", hint="give the name of a file")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
