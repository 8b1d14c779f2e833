"""Sums, maxima and convolutions to one channel over 3 x 3 cells, as maps that are shifted and combined.

On a CPU PyTorch's own pooling takes several times as long, as it visits each window by itself, and oneDNN
computes at least eight channels where one is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn

from vidseg.memory.cpu_kernels import cpu_kernels_serve


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


def to_one_channel(conv: nn.Conv2d, x_rchw: Tensor) -> Tensor:
    """What `conv`, of 3 x 3 and to one channel, makes of maps: R x 1 x H x W."""
    if type(conv) is not nn.Conv2d or conv.bias is None or not cpu_kernels_serve(x_rchw):
        out: Tensor = conv(x_rchw)
        return out
    rows, channels, height, width = x_rchw.shape
    taps = conv.weight[0].flatten(1).T @ x_rchw.permute(0, 2, 3, 1).reshape(-1, channels).T
    taps = taps.view(3, 3, rows, height, width)
    sums = taps[1, 1] + conv.bias
    for down, right in product((-1, 0, 1), repeat=2):
        if down or right:
            (to_y, of_y), (to_x, of_x) = _overlap(down, height), _overlap(right, width)
            sums[:, to_y, to_x] += taps[1 + down, 1 + right][:, of_y, of_x]
    return sums[:, None]


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """The cells that have a neighbour so many cells on, and these neighbours."""
    return slice(max(0, -shift), size - max(0, shift)), slice(max(0, shift), size - max(0, -shift))
