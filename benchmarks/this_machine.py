"""The line that benchmarks begin with: what their figures were measured on."""

from __future__ import annotations

import torch

from vidseg.pipeline.machine import machine


def described(threads: int) -> str:
    """The processor, how many threads compute, and the version of torch."""
    return (
        f"{machine()['processor']}, {threads} thread{'' if threads == 1 else 's'}, torch {torch.__version__}"
    )
