"""Seeds of what is random in a training run."""

from __future__ import annotations

import hashlib


def step_seed(seed: int, step: int, use: str) -> int:
    """The seed of one use in one step; it depends on the run's seed and the step's number alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step} {use}".encode()).digest()[:7], "big")
