"""SAM's encoder: attention with relative positions, by every route."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidseg.trackers.backbones.relative_attention import attend_with_biases
from vidseg.trackers.backbones.sam_vit import SamViT, SamViTSettings


def inputs(height: int, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    num = height * width
    shapes = [(2, 3, num, 8)] * 3 + [(2, 3, num, height), (2, 3, num, width)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def by_definition(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    q, k, v, by_row, by_column = (x.double() for x in (q, k, v, by_row, by_column))
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    grid = logits.unflatten(-1, (by_row.shape[-1], by_column.shape[-1]))
    biased = grid + by_row[..., :, None] + by_column[..., None, :]
    return biased.flatten(-2).softmax(dim=-1) @ v


@pytest.mark.parametrize("grid", [(5, 7), (41, 30)], ids=["few queries", "many queries"])
@pytest.mark.parametrize("threads", [1, 2])
def test_attention_is_what_the_definition_says(grid: tuple[int, int], threads: int) -> None:
    given = inputs(*grid)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            got = attend_with_biases(*given)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(got.double(), by_definition(*given), atol=1e-5, rtol=0)
    # With gradients, as in training, the other route is taken.
    torch.testing.assert_close(attend_with_biases(*given), got, atol=1e-5, rtol=0)


def test_attention_in_bfloat16() -> None:
    given = inputs(41, 30, torch.bfloat16)
    with torch.inference_mode():
        got = attend_with_biases(*given)
    assert got.dtype == torch.bfloat16
    want = by_definition(*given)
    assert float((got.double() - want).abs().max()) < 0.05 * float(want.abs().max())


def test_large_logits_do_not_overflow() -> None:
    q, k, v, by_row, by_column = inputs(41, 30)
    with torch.inference_mode():
        got = attend_with_biases(60 * q, 60 * k, v, 50 * by_row, by_column)
    want = by_definition(60 * q, 60 * k, v, 50 * by_row, by_column)
    torch.testing.assert_close(got.double(), want, atol=5e-3, rtol=0)


def test_gradients_reach_every_weight() -> None:
    settings = SamViTSettings(channels=16, heads=2, depth=2, global_blocks=[1], mlp=32, window=3, grid=4)
    trunk = SamViT(settings)
    (features,) = trunk(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    features.square().mean().backward()
    without = [name for name, weight in trunk.named_parameters() if weight.grad is None]
    assert without == []
