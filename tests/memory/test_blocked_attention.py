"""Attention in blocks equals attention at once, wherever the large scores are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vidseg.memory.blocked_attention import KEY_BLOCK, read_tokens

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
