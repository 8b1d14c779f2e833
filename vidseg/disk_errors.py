"""Recognises that a disk is full or a file or folder cannot be used, and says what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from vidseg.errors import OutputError, RunError, VidsegError, told

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ANOTHER_PLACE = "give a file or a folder that may be read and written"
_HINTS = {
    errno.EROFS: "give a place on a disk that can be written",
    errno.EACCES: _ANOTHER_PLACE,
    errno.EPERM: _ANOTHER_PLACE,
    errno.EISDIR: "it is a folder; give the name of a file",
    errno.ENOTDIR: "a part of it is a file; give a folder",
    errno.EEXIST: "a file is there already; give another name",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links lead in a circle; give another name",
}


def explained(error: BaseException) -> VidsegError | None:
    """What an error says in words of ours, if it says that a disk is full or a place cannot be used."""
    if not isinstance(error, OSError) or error.errno is None:
        return None
    if error.errno in _FULL:
        return RunError(
            f"the disk is full ({told(error)})",
            where=_name(error),
            hint="free some space, then run the same command again",
        )
    if (hint := _HINTS.get(error.errno)) is None:
        return None
    name = _name(error)
    what = "a file or folder" if name is None else f"'{name}'"
    return OutputError(f"{what} cannot be used ({told(error)})", hint=hint)


def _name(error: OSError) -> str | None:
    name = error.filename2 or error.filename
    if name is None or isinstance(name, int):
        return None
    path = Path(os.fsdecode(name))
    if path.suffix != ".part":
        return str(path)
    # Files are written as `name.part` or `.name.part` and renamed; people know the name alone.
    return str(path.with_name(path.stem.removeprefix(".") or path.name))
