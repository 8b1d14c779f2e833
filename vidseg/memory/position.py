"""Sine encodings of place (2-D grid) and time (1-D). They are computed, and never stored in checkpoints."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vidseg.memory.cached import cached


@cached(maxsize=64)
def sine_grid(
    channels: int,
    height: int,
    width: int,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sine encoding of a grid: C x H x W, the first half of the channels for y, the second for x.

    It is computed in float32.

    Source: DETR's normalised sine embedding, as in SAM 2's `PositionEmbeddingSine`. Callers must not write
    to the result: it is cached.
    """
    half = channels // 2
    frequency = 10000.0 ** (2 * torch.div(torch.arange(half, device=device), 2, rounding_mode="floor") / half)

    def encode(length: int) -> Tensor:
        place = (
            torch.arange(1, length + 1, dtype=torch.float32, device=device) / (length + 1e-6) * (2 * math.pi)
        )
        angle = place[:, None] / frequency
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    y_hc = encode(height)[:, None].expand(height, width, half)
    x_wc = encode(width)[None].expand(height, width, half)
    return torch.cat((y_hc, x_wc), dim=2).permute(2, 0, 1).contiguous().to(dtype)


def sine_times(times: Tensor, channels: int) -> Tensor:
    """Sine encoding of times: float32 T to T x C (all sines, then all cosines)."""
    angle = times[:, None] / _frequencies(channels // 2, times.device)
    return torch.cat((angle.sin(), angle.cos()), dim=1)


@cached(maxsize=16)
def _frequencies(count: int, device: torch.device) -> Tensor:
    index = torch.arange(count, dtype=torch.float32, device=device)
    return 10000.0 ** (2 * torch.div(index, 2, rounding_mode="floor") / count)
