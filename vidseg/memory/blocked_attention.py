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
"""Rows of a block. The faster the product, the more a block must do for one rearrangement of its keys."""
KEY_BLOCK = 512
FIRST_KEYS = 64
MANY_ROWS = 1024
"""Queries from which on blocks are worth their trouble."""

# Scores may exceed the running maximum by some measure before it is moved. In float32 no sum may overflow;
# rounded scores are most accurate near zero, so a coarse type moves it soon.
LARGEST_WEIGHT = 2.0**64
HALF_HEADROOM = 2.0


def use_blocks(x: Tensor) -> bool:
    """Whether the blocked kernels serve: as `cpu_kernels_serve`, and no types are changed."""
    return cpu_kernels_serve(x) and not torch.is_autocast_enabled("cpu")


def fused_lags(x: Tensor) -> bool:
    """Whether the blocked kernels serve, and beat PyTorch's fused attention where both do the same work.

    Where a processor multiplies bfloat16 by vectors and not by tiles (AMX), products run at twice the rate of
    float32, but the fused kernel at that of float32.
    """
    return use_blocks(x) and x.dtype == torch.bfloat16 and x.shape[-2] >= MANY_ROWS and _has_only_vectors()


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
    """Softmax-weighted sums of values for N rows, fed block by block of keys.

    Args:
        queries_nd: scaled by log2(e)/√d; the last channel is overwritten. The other channels may change
            between blocks of keys.
        value_channels: E.
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
            keys_dk: with a channel of ones last.
        """
        # All rows pass by one block of keys, not the other way round: the keys stay in the cache.
        size = ROW_BLOCK[self._queries_nd.dtype]
        for start in range(0, self._queries_nd.shape[0], size):
            rows = slice(start, start + size)
            queries = self._queries_nd[rows]
            if self._is_first:
                # A few keys are enough to start from; where others exceed them by far the peak moves.
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
        """Go on with other query channels against the keys to come; the last channel is overwritten."""
        queries_nd[:, -1:] = self._minus_peak_n1
        self._queries_nd = queries_nd
        self._minus_peak_n1 = queries_nd[:, -1:]

    def result(self) -> Tensor:
        """N x E, float32."""
        return self._sums_ne / self._weights_n1

    def _room(self, rows: int, keys: int) -> Tensor:
        """One piece of memory for all scores."""
        if self._scores.numel() < rows * keys:
            self._scores = self._queries_nd.new_empty(rows * keys)
        return self._scores[: rows * keys].view(rows, keys)

    def _move_loud_peaks(self, rows: slice, keys_dk: Tensor, scores_rk: Tensor) -> None:
        """Where a row of scores goes too far above its peak, move the peak and make the row anew."""
        # The bits of positive numbers are in the order of the numbers, and as integers they are compared
        # several times faster; negative numbers stay below all of them.
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
        # What the channel holds is rounded; the sums move by exactly that.
        factor = (after.float() - before.float()).exp2()
        self._minus_peak_n1[rows] = after
        self._weights_n1[rows] *= factor
        self._sums_ne[rows] *= factor


def read_tokens(
    q_nc: Tensor, k_mc: Tensor, tokens_md: Tensor, log2_weights_m: Tensor | None = None
) -> Tensor:
    """Averages of tokens, weighted by the softmax of q kᵀ / √C: N x D, in the type of the tokens.

    Args:
        log2_weights_m: logarithms of how often each key counts; None: all once.
    """
    out_nd = tokens_md.new_empty(q_nc.shape[0], tokens_md.shape[1])
    channels = q_nc.shape[1]
    more = [] if log2_weights_m is None else [log2_weights_m[:, None].to(k_mc.dtype)]
    keys_mc = torch.cat((k_mc, *more, k_mc.new_ones(k_mc.shape[0], 1)), dim=1)
    scale = LOG2_E / math.sqrt(channels)

    # Every block has keys from all over, so that the first one tells how large scores will be.
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
