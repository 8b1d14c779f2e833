"""Fixtures for the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    """The development data (goldens, clips, annotated sequences): $VIDSEG_SHARED, else beside the repository."""
    return Path(os.environ.get("VIDSEG_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data; tests that need it are skipped where it is absent."""
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"needs the development data, which is not at {folder} (set VIDSEG_SHARED)")
    return folder
