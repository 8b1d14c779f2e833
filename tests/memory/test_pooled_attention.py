"""Pooled memory reads: what they equal exactly, and where."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vidseg.memory.attention import MemoryTokens, RotaryCrossAttention, attend
from vidseg.memory.pooled_attention import PooledCrossAttention
from vidseg.memory.pooled_reads import SizeTerm, attend_pooled, pool_frames


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def constant_over_squares(num_frames: int, height: int, width: int, channels: int, seed: int) -> Tensor:
    """2 x (T·H·W) x C, the same within each square of 2 x 2 cells."""
    rows, columns = -(-height // 2), -(-width // 2)
    squares = random(2, num_frames, rows, columns, channels, seed=seed)
    cells = squares.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return cells[:, :, :height, :width].flatten(1, 3)


@settings(max_examples=25)
@given(
    num_frames=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    num_pointer_tokens=st.integers(0, 3),
)
def test_pooling_what_is_constant_over_squares_changes_nothing(
    num_frames: int, height: int, width: int, num_pointer_tokens: int
) -> None:
    pointers = random(2, num_pointer_tokens, 8, seed=9)
    k = torch.cat((constant_over_squares(num_frames, height, width, 8, seed=1), pointers), dim=1)
    v = torch.cat((constant_over_squares(num_frames, height, width, 8, seed=2), pointers), dim=1)
    q = random(2, 5, 8, seed=3)
    got = attend_pooled(q, k, v, num_frames, (height, width))
    torch.testing.assert_close(got, attend(q, k, v), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size_term", ["logits", "keys"])
def test_pooled_attention_equals_its_formula(size_term: SizeTerm) -> None:
    num_frames, height, width, channels = 2, 4, 6, 8
    num_spatial = num_frames * height * width
    q, k, v = (random(2, n, channels, seed=n) for n in (5, num_spatial + 3, num_spatial + 4))
    v = v[:, : num_spatial + 3]

    def means(tokens: Tensor) -> Tensor:
        grid = tokens[:, :num_spatial].reshape(2, num_frames, height // 2, 2, width // 2, 2, channels)
        return grid.mean((3, 5)).flatten(1, 3)

    pooled_logits = q @ means(k).mT / math.sqrt(channels)
    if size_term == "logits":
        pooled_logits = pooled_logits + math.log(4)
    else:
        pooled_logits = pooled_logits + math.log(4) * q.sum(-1, keepdim=True) / math.sqrt(channels)
    pointer_logits = q @ k[:, num_spatial:].mT / math.sqrt(channels)
    weights = torch.cat((pooled_logits, pointer_logits), -1).softmax(-1)
    want = weights @ torch.cat((means(v), v[:, num_spatial:]), 1)
    torch.testing.assert_close(attend_pooled(q, k, v, num_frames, (height, width), size_term), want)


def test_half_precision_gives_about_the_same() -> None:
    q, k, v = (random(2, n, 8, seed=n).float() for n in (5, 35, 35))
    got = attend_pooled(q.bfloat16(), k.bfloat16(), v.bfloat16(), 2, (4, 4))
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), attend_pooled(q, k, v, 2, (4, 4)), rtol=0, atol=0.03)


def test_adding_the_size_to_the_keys_is_another_function() -> None:
    k = constant_over_squares(2, 4, 4, 8, seed=1)
    q = random(2, 5, 8, seed=3)
    pointers = random(2, 2, 8, seed=4)
    k = torch.cat((k, pointers), dim=1)
    difference = (attend_pooled(q, k, k, 2, (4, 4), "keys") - attend(q, k, k)).abs().max()
    assert difference > 0.01


def test_frames_are_pooled_apart_and_row_by_row() -> None:
    tokens = torch.arange(2 * 4 * 6, dtype=torch.float64)[None, :, None]
    pooled = pool_frames(tokens, (4, 6))[0, :, 0]
    # The mean of a square is its first cell plus half a row and half a cell.
    corners = [frame * 24 + row * 6 + column for frame in (0, 1) for row in (0, 2) for column in (0, 2, 4)]
    assert pooled.tolist() == [corner + 3.5 for corner in corners]


def memory_of(num_frames: int, num_cells: int) -> MemoryTokens:
    size = num_frames * num_cells + 4
    return MemoryTokens(torch.randn(2, size, 8), torch.randn(2, size, 8), 4, num_frames)


def layers(size_term: SizeTerm) -> tuple[PooledCrossAttention, RotaryCrossAttention]:
    torch.manual_seed(0)
    dense = RotaryCrossAttention(16, 8)
    pooled = PooledCrossAttention(16, 8, size_term)
    pooled.load_state_dict(dense.state_dict())
    return pooled, dense


@torch.no_grad()
@pytest.mark.parametrize("size_term", ["logits", "keys"])
def test_a_single_memory_frame_is_read_whole(size_term: SizeTerm) -> None:
    pooled, dense = layers(size_term)
    x_bnc, memory = torch.randn(2, 16, 16), memory_of(1, 16)
    assert torch.equal(pooled(x_bnc, memory, (4, 4)), dense(x_bnc, memory, (4, 4)))


@torch.no_grad()
@pytest.mark.parametrize("size_term", ["logits", "keys"])
def test_several_memory_frames_are_pooled_after_the_rotation(size_term: SizeTerm) -> None:
    pooled, dense = layers(size_term)
    x_bnc, memory = torch.randn(2, 16, 16), memory_of(3, 16)
    q, k = dense.queries(x_bnc, (4, 4)), dense.keys(memory, (4, 4))
    v = dense.v_proj(memory.tokens_bmc)
    want = dense.out_proj(attend_pooled(q, k, v, 3, (4, 4), size_term))
    torch.testing.assert_close(pooled(x_bnc, memory, (4, 4)), want)
    assert (pooled(x_bnc, memory, (4, 4)) - dense(x_bnc, memory, (4, 4))).abs().max() > 1e-3


@pytest.mark.parametrize("size_term", ["logits", "keys"])
@pytest.mark.parametrize("grid_hw", [(4, 4), (3, 5)])
def test_narrow_values_change_nothing(size_term: SizeTerm, grid_hw: tuple[int, int]) -> None:
    """Without gradients tokens are averaged first and projected after."""
    pooled, _ = layers(size_term)
    num_cells = math.prod(grid_hw)
    x_bnc, memory = torch.randn(2, num_cells, 16), memory_of(3, num_cells)
    want = pooled(x_bnc, memory, grid_hw)
    with torch.no_grad():
        got = pooled(x_bnc, memory, grid_hw)
    assert want.requires_grad
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
