"""Where the development data is, for tests that are parametrised over it at collection."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def shared_folder() -> Path:
    """The development data (goldens, clips, sequences): $VIDSEG_SHARED, else beside the repository."""
    return Path(os.environ.get("VIDSEG_SHARED", REPOSITORY.parent / "shared"))
