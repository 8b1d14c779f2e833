"""Attention in blocks equals attention at once, wherever the large scores are."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory import blocked_attention
from vidseg.memory.attention import attend
from vidseg.memory.blocked_attention import KEY_BLOCK, MANY_ROWS, attend_in_blocks, fused_lags, read_tokens

NUM_KEYS = 2 * KEY_BLOCK + 100


def by_definition(q_nc: Tensor, k_mc: Tensor, tokens_md: Tensor, weights_m: Tensor | None = None) -> Tensor:
    logits = q_nc.double() @ k_mc.double().T / math.sqrt(q_nc.shape[1])
    if weights_m is not None:
        logits = logits + weights_m.double().log()
    return logits.softmax(-1) @ tokens_md.double()


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize(
    ("scale", "loud_key"),
    [(1.0, None), (12.0, 3), (12.0, KEY_BLOCK - 1), (12.0, NUM_KEYS - 1), (-12.0, 0)],
    ids=["even", "loud-first", "loud-in-the-first-block", "loud-last", "first-faint"],
)
def test_blocks_equal_the_definition(
    dtype: torch.dtype, tolerance: float, scale: float, loud_key: int | None
) -> None:
    """A key that is loud to all queries outweighs the others by far: what comes late must still win."""
    q, k, tokens = random(900, 24, seed=1), random(NUM_KEYS, 24, seed=2), random(NUM_KEYS, 5, seed=3)
    q[:, 0] = q[:, 0].abs() + 1
    if loud_key is not None:
        k[loud_key, 0] = 10 * scale
    q, k, tokens = q.to(dtype), k.to(dtype), tokens.to(dtype)
    got = read_tokens(q, k, tokens)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), by_definition(q, k, tokens), rtol=0, atol=tolerance)


@torch.no_grad()
def test_far_larger_scores_do_not_overflow() -> None:
    q, k, tokens = 30 * random(50, 24, seed=1), 30 * random(NUM_KEYS, 24, seed=2), random(NUM_KEYS, 5, seed=3)
    torch.testing.assert_close(
        read_tokens(q, k, tokens).double(), by_definition(q, k, tokens), rtol=0, atol=5e-3
    )


@torch.no_grad()
def test_a_key_that_counts_twice_is_there_twice() -> None:
    q, k, tokens = random(20, 24, seed=1), random(40, 24, seed=2), random(40, 5, seed=3)
    counts = torch.ones(40)
    counts[:7] = 2.0
    got = read_tokens(q, k, tokens, counts.log2())
    twice = read_tokens(q, torch.cat((k, k[:7])), torch.cat((tokens, tokens[:7])))
    torch.testing.assert_close(got, twice)
    torch.testing.assert_close(got.double(), by_definition(q, k, tokens, counts), rtol=0, atol=2e-5)


@torch.no_grad()
def test_heads_and_rows_of_a_batch_are_read_apart() -> None:
    q, k, v = random(2, 3, 70, 16, seed=1), random(2, 3, 90, 16, seed=2), random(2, 3, 90, 8, seed=3)
    want = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend_in_blocks(q, k, v), want, rtol=0, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("loudness", [1.0, 6.0])
def test_blocks_lose_little_accuracy_in_bfloat16(monkeypatch: pytest.MonkeyPatch, loudness: float) -> None:
    """Scores are rounded before the exponential, but those that count are near zero there."""
    monkeypatch.setattr(blocked_attention, "_has_only_vectors", lambda: True)
    q, k, v = (random(2, MANY_ROWS, 64, seed=seed).bfloat16() for seed in (1, 2, 3))
    q = q * loudness
    assert fused_lags(q)
    assert not fused_lags(q[:, 1:])
    assert not fused_lags(q.float())
    truth = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    fused = F.scaled_dot_product_attention(q, k, v)

    def error(got: Tensor) -> float:
        return float((got.double() - truth).pow(2).mean().sqrt() / truth.pow(2).mean().sqrt())

    assert error(attend(q, k, v)) < max(0.01, 4 * error(fused))


@torch.no_grad()
def test_rows_that_grow_loud_in_the_middle_leave_the_others_alone() -> None:
    q, k, tokens = random(300, 24, seed=1), random(NUM_KEYS, 24, seed=2), random(NUM_KEYS, 5, seed=3)
    k[777, 0], q[:, 0] = 100.0, 0.0
    even = read_tokens(q.bfloat16(), k.bfloat16(), tokens.bfloat16())
    q[::7, 0] = 3.0
    q, k, tokens = q.bfloat16(), k.bfloat16(), tokens.bfloat16()
    got = read_tokens(q, k, tokens)
    torch.testing.assert_close(got.double(), by_definition(q, k, tokens), rtol=0, atol=3e-2)
    quiet = torch.arange(300) % 7 != 0
    assert torch.equal(got[quiet], even[quiet])
