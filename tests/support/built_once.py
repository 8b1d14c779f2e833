"""Files that take long to make, and that all test processes of a run share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def built_once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name`, filled by `make(folder)` in the first process that asks; others wait for it.

    A fixture's scope ends at its process, and tests that want the same files run in several.
    """
    base = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a folder of its own within that of the run
        base = base.parent
    folder, begun = base / name, base / f"{name}-begun"
    with FileLock(base / f"{name}.lock"):
        if not folder.exists():
            begun.mkdir()
            make(begun)
            begun.rename(folder)
    return folder
