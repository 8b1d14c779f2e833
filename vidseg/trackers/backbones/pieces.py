"""On the CPU, work on large maps is split into pieces whose intermediate results stay in the cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidseg.memory.cpu_kernels import cpu_kernels_serve

PIECE_ELEMENTS = 1 << 20
"""How many elements of the widest intermediate result a piece has."""


def num_in_piece(elements: int) -> int:
    """How many things (rows, windows) of `elements` elements each fit into one piece; at least 1."""
    if torch.compiler.is_compiling():
        # A compiled model is not split (`cpu_kernels_serve`), compilers cannot trace the number of threads,
        # and a graph for any number of pictures must not depend on how many are in the example.
        return 1
    return max(1, PIECE_ELEMENTS * torch.get_num_threads() // elements)


def in_pieces(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`layer(x)` in pieces, for a layer that treats each entry of the first axis alike and by itself."""
    if not cpu_kernels_serve(x):
        return layer(x)
    size = max(1, PIECE_ELEMENTS // x[0].numel()) * torch.get_num_threads()
    first = layer(x[:size])
    if size >= x.shape[0]:
        return first
    out = first.new_empty(x.shape[0], *first.shape[1:])
    out[:size] = first
    for start in range(size, x.shape[0], size):
        out[start : start + size] = layer(x[start : start + size])
    return out


def by_rows(
    layer: Callable[[Tensor], Tensor],
    x_bhwc: Tensor,
    size: int,
    *,
    stride: int = 1,
    halo: int = 0,
    whole: bool = False,
) -> Tensor:
    """`layer(x)` in strips of rows, for a layer whose rows depend on nearby rows alone.

    Args:
        layer: a map B x H x W x C to one of H / stride rows (rounded up).
        size: rows of a strip of the input: a multiple of `stride`, and of the side of windows, if there are
            any.
        stride: see `layer`.
        halo: how many rows of the output lie within the reach of one input row, above and below it.
        whole: take the map at once after all: batch norms in training measure the whole of it.
    """
    height = x_bhwc.shape[1]
    if whole or not cpu_kernels_serve(x_bhwc) or size >= height:
        return layer(x_bhwc)
    out: Tensor | None = None
    for start in range(0, height, size):
        end = min(height, start + size)
        top = max(0, start - halo * stride)
        strip = layer(x_bhwc[:, top : end + halo * stride])
        if out is None:
            out = strip.new_empty(strip.shape[0], -(-height // stride), *strip.shape[2:])
        rows = slice(start // stride, -(-end // stride))
        first = rows.start - top // stride
        out[:, rows] = strip[:, first : first + rows.stop - rows.start]
    assert out is not None
    return out
