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

import torch
from torch import Tensor

from vidseg.memory.threads import split_rows

LOG2_E = math.log2(math.e)
ROW_BLOCK_BYTES = 1536
"""Rows of a block times the size of a number: 384 rows in float32, 768 in a half type."""
KEY_BLOCK = 512
FIRST_KEYS = 32

# Scores may exceed the running maximum by some measure before it is moved. In float32 no sum may overflow;
# rounded scores are most accurate near zero, so a coarse type moves it soon.
LARGEST_WEIGHT = 2.0**64
HALF_HEADROOM = 2.0


def use_blocks(x: Tensor) -> bool:
    """Whether the blocked kernels serve: on the CPU, with no gradient wanted and no types changed."""
    is_plain = not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
    return x.device.type == "cpu" and is_plain


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

    def add(self, keys_dk: Tensor, values_ke: Tensor) -> None:
        """Read one block of keys.

        Args:
            keys_dk: with a channel of ones last.
        """
        # All rows pass by one block of keys, not the other way round: the keys stay in the cache.
        size = ROW_BLOCK_BYTES // self._queries_nd.element_size()
        for start in range(0, self._queries_nd.shape[0], size):
            rows = slice(start, start + size)
            queries = self._queries_nd[rows]
            if self._is_first:
                # A few keys are enough to start from; where others exceed them by far the peak moves.
                self._move_peak(rows, (queries @ keys_dk[:, :FIRST_KEYS]).amax(dim=1, keepdim=True))
            scores_rk = queries @ keys_dk
            if scores_rk.dtype != torch.float32 and _exceeds(scores_rk, HALF_HEADROOM):
                self._move_peak_for(rows, keys_dk, scores_rk)
            weights_r1 = scores_rk.exp2_().sum(dim=1, keepdim=True)
            if scores_rk.dtype == torch.float32 and float(weights_r1.max()) > LARGEST_WEIGHT:
                torch.mm(queries, keys_dk, out=scores_rk)
                self._move_peak_for(rows, keys_dk, scores_rk)
                weights_r1 = scores_rk.exp2_().sum(dim=1, keepdim=True)
            self._weights_n1[rows] += weights_r1
            if scores_rk.dtype == torch.float32:
                self._sums_ne[rows].addmm_(scores_rk, values_ke)
            else:
                self._sums_ne[rows] += scores_rk @ values_ke
        self._is_first = False

    def use_queries(self, queries_nd: Tensor) -> None:
        """Go on with other query channels against the keys to come; the last channel is overwritten."""
        queries_nd[:, -1:] = self._minus_peak_n1
        self._queries_nd = queries_nd
        self._minus_peak_n1 = queries_nd[:, -1:]

    def result(self) -> Tensor:
        """N x E, float32."""
        return self._sums_ne / self._weights_n1

    def _move_peak_for(self, rows: slice, keys_dk: Tensor, scores_rk: Tensor) -> None:
        """Move the maximum to that of the scores, and make them anew."""
        self._move_peak(rows, scores_rk.amax(dim=1, keepdim=True))
        torch.mm(self._queries_nd[rows], keys_dk, out=scores_rk)

    def _move_peak(self, rows: slice, peaks_r1: Tensor) -> None:
        minus_peak = self._minus_peak_n1[rows]
        if self._is_first:
            minus_peak -= peaks_r1
            return
        before = minus_peak.to(torch.float32, copy=True)
        minus_peak -= peaks_r1.clamp(min=0)
        # What the channel holds is rounded; the sums move by exactly that.
        factor = (minus_peak.float() - before).exp2()
        self._weights_n1[rows] *= factor
        self._sums_ne[rows] *= factor


def _exceeds(scores: Tensor, limit: float) -> bool:
    """Whether any score is above a positive limit."""
    if scores.dtype == torch.bfloat16:
        # The bits of positive numbers are in the order of the numbers, and as integers they are compared
        # several times faster; negative numbers stay below all of them.
        limit_bits = torch.tensor(limit, dtype=scores.dtype).view(torch.int16)
        return bool(scores.view(torch.int16).max() > limit_bits)
    return float(scores.max()) > limit


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

    def read(rows: slice) -> None:
        queries = q_nc.new_ones(rows.stop - rows.start, keys_mc.shape[1])
        torch.mul(q_nc[rows], scale, out=queries[:, :channels])
        softmax = RunningSoftmax(queries, tokens_md.shape[1])
        for keys_kc, values_kd in zip(keys_mc.split(KEY_BLOCK), tokens_md.split(KEY_BLOCK), strict=True):
            softmax.add(keys_kc.T, values_kd)
        out_nd[rows] = softmax.result()

    split_rows(read, q_nc.shape[0])
    return out_nd
