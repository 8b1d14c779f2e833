"""Axial rotary position encoding (RoPE) on a grid, as SAM 2's memory attention uses it.

The channels of a token are pairs; the first half of the pairs turns with x, the second with y.
Source: Heo et al., "Rotary Position Embedding for Vision Transformer", section 3.2 (axial frequency).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vidseg.memory.cached import cached


@cached(maxsize=32)
def axial_rotation(
    channels: int, height: int, width: int, theta: float = 10000.0, device: torch.device | None = None
) -> Tensor:
    """The rotation of each cell of a grid, as cosine and sine: (H·W) x (C/2) x 2, row-major.

    The result is cached: do not write to it.
    """
    frequency = 1.0 / (
        theta ** (torch.arange(0, channels, 4, device=device)[: channels // 4].float() / channels)
    )
    cell = torch.arange(height * width, dtype=torch.float32, device=device)
    x = torch.outer(cell % width, frequency)
    y = torch.outer(torch.div(cell, width, rounding_mode="floor"), frequency)
    angle = torch.cat((x, y), dim=1)
    return torch.stack((angle.cos(), angle.sin()), dim=-1)


def rotate(x_bnc: Tensor, rotation: Tensor) -> Tensor:
    """Turn the channel pairs of each token.

    Args:
        rotation: of `axial_rotation`; broadcast over the batch.
    """
    pairs = x_bnc.float().unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # compilers cannot handle complex numbers
        (even, odd), (cos, sin) = pairs.unbind(-1), rotation.unbind(-1)
        turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotation))
    return turned.flatten(-2).to(x_bnc.dtype)
