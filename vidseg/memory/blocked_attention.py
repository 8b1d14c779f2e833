"""A softmax over many keys on the CPU, in blocks that stay in the cache, without the full score matrix.

The running maximum of a row rides in the product itself: queries have one more channel, minus the maximum,
against a channel of ones in the keys. The exponential is taken to base 2, which is several times faster here
than to base e; the logits are scaled accordingly.

Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (arXiv:1805.02867); Dao et al.,
"FlashAttention" (arXiv:2205.14135).

Layouts: N queries · R queries of a block · K keys of a block · D query channels · E value channels.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from vidseg.memory.cpu_kernels import cpu_kernels_serve
from vidseg.memory.threads import split_rows

LOG2_E = math.log2(math.e)
ROW_BLOCK = {torch.float32: 384, torch.bfloat16: 2048, torch.float16: 2048}
"""How many queries (rows) a block takes. Faster products need longer blocks, as the keys of a block are
rearranged once for all its rows."""
KEY_BLOCK = 512
"""How many keys a block takes."""
FIRST_KEYS = 64
"""About how many keys of the first block set the first guess of each row's maximum."""
MANY_ROWS = 1024
"""From this many queries on, blocks are faster than one product."""

# A score may exceed the running maximum by this factor (after the exponential) before the maximum is moved.
# In float32 the limit is overflow; bfloat16 and float16 round least near zero, so they move it much sooner.
LARGEST_WEIGHT = 2.0**64
HALF_HEADROOM = 2.0


def use_blocks(x: Tensor) -> bool:
    """Whether the blocked kernels can be used: `cpu_kernels_serve` says so, and autocast changes no types."""
    return cpu_kernels_serve(x) and not torch.is_autocast_enabled("cpu")


def fused_lags(x: Tensor) -> bool:
    """Whether the blocked kernels can be used, and beat PyTorch's fused attention at the same work."""
    return lags_in_bfloat16(x) and x.shape[-2] >= MANY_ROWS


def lags_in_bfloat16(x: Tensor) -> bool:
    """Whether PyTorch's fused attention on `x` is slower than products with an exponential between them.

    On a processor that multiplies bfloat16 in vectors, not in tiles (AMX), products run at twice the rate of
    float32, but the fused kernel only at the rate of float32.
    """
    return use_blocks(x) and x.dtype == torch.bfloat16 and _has_only_vectors()


@lru_cache(maxsize=1)
def _has_only_vectors() -> bool:
    def has(what: str) -> bool:
        return bool(getattr(torch.cpu, f"_is_{what}_supported", lambda: False)())

    return has("avx512_bf16") and not has("amx_tile")


def attend_in_blocks(q_bhnd: Tensor, k_bhmd: Tensor, v_bhme: Tensor) -> Tensor:
    """Scaled dot-product attention, head by head: B x H x N x E."""
    batch, heads, rows, _ = q_bhnd.shape
    out_bnhe = v_bhme.new_empty(batch, rows, heads, v_bhme.shape[-1])
    for b in range(batch):
        for head in range(heads):
            out_bnhe[b, :, head] = read_tokens(q_bhnd[b, head], k_bhmd[b, head], v_bhme[b, head])
    return out_bnhe.transpose(1, 2)


class RunningSoftmax:
    """Softmax-weighted sums of values for N queries, fed block by block of keys.

    Args:
        queries_nd: queries, scaled by log2(e)/√d. Their last channel is overwritten; the others may be
            replaced between blocks of keys (`use_queries`).
        value_channels: E, the width of a value.
    """

    def __init__(self, queries_nd: Tensor, value_channels: int) -> None:
        self._queries_nd = queries_nd
        self._minus_peak_n1 = queries_nd[:, -1:]
        self._minus_peak_n1.zero_()
        self._weights_n1 = queries_nd.new_zeros(queries_nd.shape[0], 1, dtype=torch.float32)
        self._sums_ne = queries_nd.new_zeros(queries_nd.shape[0], value_channels, dtype=torch.float32)
        self._is_first = True
        self._scores = queries_nd.new_empty(0)
        self._is_half = queries_nd.dtype != torch.float32

    def add(self, keys_dk: Tensor, values_ke: Tensor) -> None:
        """Read one block of keys.

        Args:
            keys_dk: keys, with a last channel of ones.
            values_ke: their values.
        """
        # Rows are the inner loop, so that the block of keys stays in the cache.
        size = ROW_BLOCK[self._queries_nd.dtype]
        for start in range(0, self._queries_nd.shape[0], size):
            rows = slice(start, start + size)
            queries = self._queries_nd[rows]
            if self._is_first:
                # A few keys give a first guess of each row's maximum; it moves if others exceed it by far.
                few = keys_dk[:, :: max(1, keys_dk.shape[1] // FIRST_KEYS)]
                self._minus_peak_n1[rows] -= (queries @ few).amax(dim=1, keepdim=True)
            scores_rk = torch.mm(queries, keys_dk, out=self._room(queries.shape[0], keys_dk.shape[1]))
            if self._is_half:
                self._move_loud_peaks(rows, keys_dk, scores_rk)
            weights_r1 = scores_rk.exp2_().sum(dim=1, keepdim=True)
            if not self._is_half and float(weights_r1.max()) > LARGEST_WEIGHT:
                torch.mm(queries, keys_dk, out=scores_rk)
                self._move_peaks(rows, scores_rk.amax(dim=1, keepdim=True))
                torch.mm(queries, keys_dk, out=scores_rk)
                weights_r1 = scores_rk.exp2_().sum(dim=1, keepdim=True)
            self._weights_n1[rows] += weights_r1
            if self._is_half:
                self._sums_ne[rows] += scores_rk @ values_ke
            else:
                self._sums_ne[rows].addmm_(scores_rk, values_ke)
        self._is_first = False

    def use_queries(self, queries_nd: Tensor) -> None:
        """Put other queries in place for the keys to come; their last channel is overwritten."""
        queries_nd[:, -1:] = self._minus_peak_n1
        self._queries_nd = queries_nd
        self._minus_peak_n1 = queries_nd[:, -1:]

    def result(self) -> Tensor:
        """The weighted averages of all values so far: float32 N x E."""
        return self._sums_ne / self._weights_n1

    def _room(self, rows: int, keys: int) -> Tensor:
        """A view, rows x keys, of the one buffer that all scores are written to."""
        if self._scores.numel() < rows * keys:
            self._scores = self._queries_nd.new_empty(rows * keys)
        return self._scores[: rows * keys].view(rows, keys)

    def _move_loud_peaks(self, rows: slice, keys_dk: Tensor, scores_rk: Tensor) -> None:
        """Raise the maximum of rows whose scores exceed it too far, and compute those rows again."""
        # Read as integers, positive floats keep their order and negative ones stay below them; integers
        # are compared several times faster.
        highest_r = scores_rk.view(torch.int16).amax(dim=1)
        limit = torch.tensor(HALF_HEADROOM, dtype=scores_rk.dtype).view(torch.int16)
        loud = (highest_r > limit).nonzero()[:, 0]
        if len(loud) == 0:
            return
        places = loud + rows.start
        self._move_peaks(places, highest_r[loud, None].view(scores_rk.dtype))
        scores_rk[loud] = self._queries_nd[places] @ keys_dk

    def _move_peaks(self, rows: slice | Tensor, peaks_r1: Tensor) -> None:
        before = self._minus_peak_n1[rows]
        after = before - peaks_r1.clamp(min=0)
        # The maximum is stored rounded, so the sums are rescaled by the difference of the rounded values.
        factor = (after.float() - before.float()).exp2()
        self._minus_peak_n1[rows] = after
        self._weights_n1[rows] *= factor
        self._sums_ne[rows] *= factor


def read_tokens(
    q_nc: Tensor, k_mc: Tensor, tokens_md: Tensor, log2_weights_m: Tensor | None = None
) -> Tensor:
    """Averages of tokens, weighted by the softmax of q kᵀ / √C: N x D, in the type of the tokens.

    Args:
        log2_weights_m: binary logarithms of how often each key counts; None: each counts once.
    """
    out_nd = tokens_md.new_empty(q_nc.shape[0], tokens_md.shape[1])
    channels = q_nc.shape[1]
    more = [] if log2_weights_m is None else [log2_weights_m[:, None].to(k_mc.dtype)]
    keys_mc = torch.cat((k_mc, *more, k_mc.new_ones(k_mc.shape[0], 1)), dim=1)
    scale = LOG2_E / math.sqrt(channels)

    # Keys are dealt out to the blocks, so that the first block shows how large scores will be.
    num_blocks = -(-keys_mc.shape[0] // KEY_BLOCK)
    blocks = [
        (keys_mc[i::num_blocks].contiguous().T, tokens_md[i::num_blocks].contiguous())
        for i in range(num_blocks)
    ]

    def read(rows: slice) -> None:
        queries = q_nc.new_ones(rows.stop - rows.start, keys_mc.shape[1])
        torch.mul(q_nc[rows], scale, out=queries[:, :channels])
        softmax = RunningSoftmax(queries, tokens_md.shape[1])
        for keys_ck, values_kd in blocks:
            softmax.add(keys_ck, values_kd)
        out_nd[rows] = softmax.result()

    split_rows(read, q_nc.shape[0])
    return out_nd
