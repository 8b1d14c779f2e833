"""Seeded random weights for modules of any kind, for tests that need no development data.

A tensor depends on its name, its shape and the seed alone, so two implementations with the same names and
shapes get the same weights in whatever order they were built.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def seeded_tensor(name: str, shape: torch.Size | tuple[int, ...], seed: int = 0) -> Tensor:
    """One float32 tensor: deviation 1/sqrt(fan-in) for matrices and kernels; scales near 1, biases near 0.

    Variances (`running_var`) stay positive; so does everything a forward pass would stumble over.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ (seed * 0x9E3779B1 & 0xFFFFFFFF))
    noise = torch.randn(tuple(shape), generator=generator)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return 1.0 + 0.1 * noise.abs()
    if leaf == "running_mean" or leaf.endswith("bias"):
        return 0.02 * noise
    if len(shape) >= 2:
        # Embeddings have a leading 1; their "fan-in" says nothing, and 1/sqrt(C) would drown them.
        fan_in = math.prod(shape[1:])
        return 0.3 * noise if shape[0] == 1 else noise / math.sqrt(fan_in)
    if leaf == "weight":
        return 1.0 + 0.1 * noise
    return 0.3 + 0.05 * noise


def seeded_weights(
    expected: nn.Module | Mapping[str, torch.Size | tuple[int, ...]], seed: int = 0
) -> dict[str, Tensor]:
    """A state dict for a module, or for names and shapes. Whole-number buffers are left at zero."""
    if isinstance(expected, nn.Module):
        return {
            name: seeded_tensor(name, value.shape, seed)
            if value.is_floating_point()
            else torch.zeros_like(value, device="cpu")
            for name, value in expected.state_dict().items()
        }
    return {name: seeded_tensor(name, tuple(shape), seed) for name, shape in expected.items()}
