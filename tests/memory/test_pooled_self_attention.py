"""Self-attention of a frame to averages of its cells (`pools_frame`)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidseg.memory.attention import RotarySelfAttention, attend
from vidseg.memory.pooled_reads import attend_pooled

CHANNELS = 16


def attentions() -> tuple[RotarySelfAttention, RotarySelfAttention]:
    """One that reads every cell, and one of the same weights that reads averages."""
    torch.manual_seed(0)
    whole, pooled = RotarySelfAttention(CHANNELS), RotarySelfAttention(CHANNELS, is_pooled=True)
    pooled.load_state_dict(whole.state_dict())
    return whole, pooled


def squares(height: int, width: int) -> Tensor:
    """Cells that are alike in squares of 2 x 2, of which the last may be cut off: 1 x (H·W) x C."""
    small = torch.randn(1, (height + 1) // 2, (width + 1) // 2, CHANNELS)
    return small.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width].flatten(1, 2)


@pytest.mark.parametrize("grid_hw", [(4, 6), (5, 7)])
@torch.inference_mode()
def test_averages_of_like_cells_are_read_as_the_cells(grid_hw: tuple[int, int]) -> None:
    q, k, v = torch.randn(1, grid_hw[0] * grid_hw[1], CHANNELS), squares(*grid_hw), squares(*grid_hw)
    torch.testing.assert_close(attend_pooled(q, k, v, 1, grid_hw), attend(q, k, v))


@torch.inference_mode()
def test_every_cell_still_asks() -> None:
    _, pooled = attentions()
    x = torch.randn(1, 24, CHANNELS)
    out = pooled(x, (4, 6))
    x[0, 5] += 1
    assert out.shape == x.shape
    assert not torch.allclose(pooled(x, (4, 6))[0, 5], out[0, 5])
