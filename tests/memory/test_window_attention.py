"""Attention in windows equals PyTorch's without a look for maxima, and leaves to it what overflows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory import blocked_attention
from vidseg.memory.window_attention import attend_in_windows


@pytest.fixture(autouse=True)
def _on_a_processor_with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_attention, "_has_only_vectors", lambda: True)


def windows(loudness: float, shift: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 6, 2, 9, 8, generator=generator).bfloat16()
    bias = (torch.randn(1, 2, 9, 9, generator=generator) + shift).bfloat16()
    return q * loudness, k, v, bias


def test_windows_in_bfloat16_equal_those_in_float32() -> None:
    q, k, v, bias = windows(1.0, 0.0)
    want = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=bias.float())
    with torch.inference_mode():
        got = attend_in_windows(q, k, v, bias)
        fused = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    assert got.dtype == torch.bfloat16
    assert not torch.equal(got, fused)  # it was computed here
    # Scores of up to 8 are rounded three times, by up to 2**-6 each; errors of the keys partly cancel.
    assert (got.float() - want).abs().max() <= 2**-5


@pytest.mark.parametrize(("loudness", "shift"), [(1.0, 500.0), (1.0, -500.0), (3000.0, 0.0)])
def test_what_overflows_or_vanishes_is_left_to_pytorch(loudness: float, shift: float) -> None:
    q, k, v, bias = windows(loudness, shift)
    with torch.inference_mode():
        got = attend_in_windows(q, k, v, bias)
        assert torch.equal(got, F.scaled_dot_product_attention(q, k, v, attn_mask=bias))


def test_windows_can_be_trained() -> None:
    q, k, v, bias = windows(1.0, 0.0)
    q.requires_grad_()
    attend_in_windows(q, k, v, bias).sum().backward()
    assert q.grad is not None
    assert q.grad.abs().max() > 0
