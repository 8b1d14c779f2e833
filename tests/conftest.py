"""Fixtures for the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.shared import shared_folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data; tests that need it are skipped where it is absent."""
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"needs the development data, which is not at {folder} (set VIDSEG_SHARED)")
    return folder
