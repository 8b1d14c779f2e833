"""Axial rotary position encoding (RoPE) on a grid, as SAM 2's memory attention uses it.

The channels of a token are pairs; the first half of the pairs turns with x, the second with y.
Source: Heo et al., "Rotary Position Embedding for Vision Transformer", section 3.2 (axial frequency).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept may be needed in training later
def axial_rotation(
    channels: int, height: int, width: int, theta: float = 10000.0, device: torch.device | None = None
) -> Tensor:
    """The rotation of each cell of a grid: complex64 (H·W) x (C/2), row-major. Cached: do not write to it."""
    frequency = 1.0 / (
        theta ** (torch.arange(0, channels, 4, device=device)[: channels // 4].float() / channels)
    )
    cell = torch.arange(height * width, dtype=torch.float32, device=device)
    x = torch.outer(cell % width, frequency)
    y = torch.outer(torch.div(cell, width, rounding_mode="floor"), frequency)
    angle = torch.cat((x, y), dim=1)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x_bnc: Tensor, rotation: Tensor) -> Tensor:
    """Turn the channel pairs of each token; `rotation` is complex, broadcast over the batch."""
    x = torch.view_as_complex(x_bnc.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(x * rotation).flatten(-2).to(x_bnc.dtype)
