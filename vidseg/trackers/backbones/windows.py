"""Cuts a grid of patches into square windows, and puts windows back together.

Layouts: B images · Y X rows and columns of the grid · W windows · N tokens of a window · C channels.
"""

from __future__ import annotations

from torch import Tensor


def to_windows(x_byxc: Tensor, window: int) -> Tensor:
    """Cut the grid into windows, row by row: (B·W) x N x C; its sides are multiples of `window`."""
    grid = x_byxc.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return grid.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def from_windows(windows_wnc: Tensor, window: int, height: int, width: int) -> Tensor:
    """Put windows back into a grid of `height` x `width`, without padding."""
    rows, columns = -(-height // window), -(-width // window)
    grid = windows_wnc.unflatten(1, (window, window)).unflatten(0, (-1, rows, columns))
    return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]
