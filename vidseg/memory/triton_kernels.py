"""Kernels for NVIDIA GPUs, in Triton: rotary turns, and attention whose values are narrower than its keys.

Sources: Dao et al., "FlashAttention" (arXiv:2205.14135); Milakov and Gimelshein, "Online normalizer
calculation for softmax" (arXiv:1805.02867).

Layouts: B objects · N queries · M tokens · C query channels · D token channels.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

LOG2_E = math.log2(math.e)
TURN_ROWS = 16
"""How many tokens a program of `turn` takes."""
READ_TILES = {"ROWS": 128, "KEYS": 64, "num_warps": 8, "num_stages": 3}
"""Queries of a program of `read`, keys of a step, and how they are computed: guessed for Hopper."""


@triton.jit
def _turn_kernel(  # type: ignore[no-untyped-def]
    x, rotation, out, tokens, turned, period, batch_step, token_step,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, CHANNELS)
    is_there = (row < tokens)[:, None]
    is_turned = (row < turned)[:, None]
    place = x + batch.to(tl.int64) * batch_step + row[:, None].to(tl.int64) * token_step + channel[None]
    values = tl.load(place, mask=is_there, other=0.0)
    angle = rotation + (row % period)[:, None] * CHANNELS + channel[None]
    cosines, sines = tl.split(tl.load(angle).reshape(ROWS, CHANNELS // 2, 2))
    even, odd = tl.split(values.to(tl.float32).reshape(ROWS, CHANNELS // 2, 2))
    pairs = tl.join(even * cosines - odd * sines, even * sines + odd * cosines)
    result = tl.where(is_turned, pairs.reshape(ROWS, CHANNELS).to(values.dtype), values)
    target = out + (batch.to(tl.int64) * tokens + row[:, None]) * CHANNELS + channel[None]
    tl.store(target, result, mask=is_there)


def turn(x_bmc: Tensor, rotation_nc2: Tensor, num_turned: int) -> Tensor:
    """Turn the channel pairs of the first tokens by the rotation of their place; the others stay.

    Args:
        x_bmc: the last axis is contiguous; its length is a power of two.
        rotation_nc2: float32, cosine and sine of each pair; token i has place i modulo their number.
        num_turned: how many tokens are turned.
    """
    batch, tokens, channels = x_bmc.shape
    out = x_bmc.new_empty(batch, tokens, channels)
    _turn_kernel[(triton.cdiv(tokens, TURN_ROWS), batch)](
        x_bmc,
        rotation_nc2,
        out,
        tokens,
        num_turned,
        rotation_nc2.shape[0],
        x_bmc.stride(0),
        x_bmc.stride(1),
        CHANNELS=channels,
        ROWS=TURN_ROWS,
    )
    return out


@triton.jit
def _read_kernel(  # type: ignore[no-untyped-def]
    q, k, v, bias, out, scale, queries, tokens, q_step, k_step, v_step,
    CHANNELS: tl.constexpr, VALUES: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    key = tl.arange(0, KEYS)
    channel = tl.arange(0, CHANNELS)
    value = tl.arange(0, VALUES)
    is_row = (row < queries)[:, None]
    q_tile = tl.load(q + batch * q_step + row[:, None] * CHANNELS + channel[None], mask=is_row, other=0.0)
    peak = tl.full((ROWS,), -1e30, tl.float32)
    weight = tl.zeros((ROWS,), tl.float32)
    sums = tl.zeros((ROWS, VALUES), tl.float32)
    for start in range(0, tokens, KEYS):
        here = start + key
        is_key = here < tokens
        k_tile = tl.load(
            k + batch * k_step + here[None] * CHANNELS + channel[:, None], mask=is_key[None], other=0.0
        )
        scores = tl.dot(q_tile, k_tile) * scale
        if HAS_BIAS:
            scores += tl.load(bias + here, mask=is_key, other=0.0)[None]
        scores = tl.where(is_key[None], scores, -1e30)
        higher = tl.maximum(peak, tl.max(scores, 1))
        shrink = tl.exp2(peak - higher)
        weights = tl.exp2(scores - higher[:, None])
        weight = weight * shrink + tl.sum(weights, 1)
        v_tile = tl.load(
            v + batch * v_step + here[:, None] * VALUES + value[None], mask=is_key[:, None], other=0.0
        )
        sums = tl.dot(weights.to(v_tile.dtype), v_tile, sums * shrink[:, None])
        peak = higher
    result = sums / weight[:, None]
    place = out + (batch * queries + row[:, None]) * VALUES + value[None]
    tl.store(place, result.to(q_tile.dtype), mask=is_row)


def read(q_bnc: Tensor, k_bmc: Tensor, tokens_bmd: Tensor, log2_weights_m: Tensor | None = None) -> Tensor:
    """Averages of tokens, weighted by the softmax of q kᵀ / √C: B x N x D.

    Args:
        tokens_bmd: the values, with fewer channels than keys; C and D are powers of two.
        log2_weights_m: binary logarithms of how often each key counts, float32; None: each counts once.
    """
    q_bnc, k_bmc, tokens_bmd = q_bnc.contiguous(), k_bmc.contiguous(), tokens_bmd.contiguous()
    batch, queries, channels = q_bnc.shape
    tokens, values = tokens_bmd.shape[1:]
    out = q_bnc.new_empty(batch, queries, values)
    _read_kernel[(triton.cdiv(queries, READ_TILES["ROWS"]), batch)](
        q_bnc,
        k_bmc,
        tokens_bmd,
        log2_weights_m,
        out,
        LOG2_E / math.sqrt(channels),
        queries,
        tokens,
        q_bnc.stride(0),
        k_bmc.stride(0),
        tokens_bmd.stride(0),
        CHANNELS=channels,
        VALUES=values,
        HAS_BIAS=log2_weights_m is not None,
        **READ_TILES,
    )
    return out
