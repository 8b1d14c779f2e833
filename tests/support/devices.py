"""Devices besides the CPU that tests run on; a test on one that is not here says so and is skipped."""

from __future__ import annotations

import pytest
import torch

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
NEEDS_MPS = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs a Mac's GPU (MPS)")
on_each_gpu = pytest.mark.parametrize(
    "gpu", [pytest.param("cuda", marks=NEEDS_CUDA), pytest.param("mps", marks=NEEDS_MPS)]
)
"""A test with a parameter `gpu`, the name of a device."""
