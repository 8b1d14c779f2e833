"""Checkpoints: what they are, where they come from, and whether they fit."""
from __future__ import annotations
def check_state(expected, given):
    assert set(expected)==set(given)
