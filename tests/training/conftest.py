"""Prompts of small clips are guessed at in small crops."""

from __future__ import annotations

import pytest

from vidseg.trackers.space_time import first_guess


@pytest.fixture(autouse=True)
def _small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enlarging the boxes in clips of 64 pixels takes longer than all else in a step of a small model."""
    monkeypatch.setattr(first_guess, "SIDE_PX", 48)
