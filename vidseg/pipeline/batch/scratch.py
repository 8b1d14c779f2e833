"""Space on this machine's disk for files on their way from and to a store."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from vidseg.pipeline.file_lock import lock

_NAME = "vidseg-batch-"
_LOCK = ".lock"
"""No job has such an id."""


class Scratch:
    """A temporary folder of this process. Folders that killed processes left beside it are removed where
    files can be locked, which tells them from those in use. Each lies in the root itself, as those of other
    users may, too.

    Args:
        root: folder in which it is made; None: that of the system for temporary files.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root or Path(tempfile.gettempdir())
        self._folder: Path | None = None
        self._lock = -1

    def folder(self, name: str) -> Path:
        """A new empty folder in it."""
        if self._folder is None:
            self._root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self._folder = Path(tempfile.mkdtemp(prefix=_NAME, dir=self._root))
            new = self._folder / f"{_LOCK}.new"
            self._lock = os.open(new, os.O_CREAT | os.O_RDWR)
            lock(self._lock)
            os.replace(new, self._folder / _LOCK)  # from now on other processes may look for the lock
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def num_bytes(self) -> int:
        """How many bytes the files in it have by now; callable from any thread."""
        total, root = 0, self._folder
        for folder, _, files in os.walk(root) if root is not None else ():
            for name in files:
                with contextlib.suppress(OSError):  # it has just gone
                    total += os.stat(os.path.join(folder, name)).st_size
        return total

    def close(self) -> None:
        if self._folder is not None:
            os.close(self._lock)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._sweep()

    def _sweep(self) -> None:
        for path in self._root.glob(f"{_NAME}*/{_LOCK}"):
            with contextlib.suppress(OSError):
                held = os.open(path, os.O_RDWR)
                try:
                    if lock(held):
                        shutil.rmtree(path.parent, ignore_errors=True)
                finally:
                    os.close(held)
