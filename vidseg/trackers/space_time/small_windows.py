"""Sums and maxima over windows of 3 x 3 cells, without gradients.

On a CPU PyTorch's own pooling takes several times as long, as it visits each window by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sums_in_threes(maps_rchw: Tensor) -> Tensor:
    """Sums over the window about each cell; there is nothing beyond the border."""
    return _in_threes(maps_rchw, torch.add)


def maxima_in_threes(maps_rchw: Tensor) -> Tensor:
    """Maxima over the window about each cell."""
    return _in_threes(maps_rchw, torch.maximum)


def _in_threes(maps_rchw: Tensor, combine: Callable[..., Tensor]) -> Tensor:
    for dim in (2, 3):
        fewer = maps_rchw.shape[dim] - 1
        combined = maps_rchw.clone()
        for to, of in ((1, 0), (0, 1)):
            part = combined.narrow(dim, to, fewer)
            combine(part, maps_rchw.narrow(dim, of, fewer), out=part)
        maps_rchw = combined
    return maps_rchw
