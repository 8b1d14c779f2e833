"""Reads labels from memory: every cell of the frame takes the average label of memory cells similar to it.

A memory token is a key, which describes what a cell looks like, and a value, which says what was there:
learned channels and the mask itself, so that reading carries labels over directly. Keys belong to the frame
and values to the object; objects that remember the same frames share one comparison of keys.

Source: Oh et al., "Video Object Segmentation using Space-Time Memory Networks" (ICCV 2019).

Layouts: R rows (objects) · N cells of the frame · M memory tokens · D key channels · E value channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vidseg.memory.blocked_attention import LOG2_E, use_blocks
from vidseg.memory.linear import product

MAX_SHARPNESS = 40.0
"""Highest factor on a cosine in the exponent; sums of such powers stay far within float32."""
LOWEST_POWER = -100.0
KEY_BLOCK = 512
"""How many keys a block takes; its scores stay in the cache."""


class LabelReading(nn.Module):
    """Reads memory frames by cosine similarity of keys, wherever in the frame the cells lie."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(14.0)))

    def forward(
        self, keys_rnd: Tensor, memory_rmd: Tensor, values_rme: Tensor, is_read_rm: Tensor | None = None
    ) -> Tensor:
        """What each cell reads: R x N x E.

        Keys and memories may have 1 row if they are the same for all objects.

        Args:
            is_read_rm: which tokens are read, at least one in a row; None: all.
        """
        query_rnd = keys_rnd * self.sharpness()
        is_shared = query_rnd.shape[0] == 1 and memory_rmd.shape[0] == 1
        if use_blocks(query_rnd):
            return _read_in_blocks(query_rnd, memory_rmd, values_rme, is_read_rm)
        scores = query_rnd @ memory_rmd.transpose(1, 2)
        if is_read_rm is not None:
            scores = scores.masked_fill(~is_read_rm[:, None], -torch.inf)
        elif is_shared:
            # All rows share one comparison of keys; their values are put side by side.
            values_mf = values_rme.transpose(0, 1).flatten(1)
            return (scores[0].softmax(dim=1) @ values_mf).unflatten(1, (len(values_rme), -1)).transpose(0, 1)
        return scores.softmax(dim=2) @ values_rme

    def sharpness(self) -> Tensor:
        """The factor on cosines in the exponent."""
        return self.log_sharpness.exp().clamp(max=MAX_SHARPNESS)


def _read_in_blocks(
    query_rnd: Tensor, keys_rmd: Tensor, values_rme: Tensor, is_read_rm: Tensor | None
) -> Tensor:
    # A column of ones in the values gives the sum of weights in the same product; tokens that a row does not
    # read are 0 in it.
    read_rm1 = values_rme.new_ones(*values_rme.shape[:2], 1) if is_read_rm is None else is_read_rm[..., None]
    values = torch.cat((values_rme, read_rm1.to(values_rme)), dim=2) * read_rm1
    if query_rnd.shape[0] == 1 and keys_rmd.shape[0] == 1:
        # All rows share one comparison of keys; their values are put side by side.
        sums = _weighted(query_rnd[0], keys_rmd[0], values.transpose(0, 1).flatten(1))
        sums = sums.unflatten(1, (len(values), -1)).transpose(0, 1)
    else:
        rows = len(values)
        queries, keys = query_rnd.expand(rows, -1, -1), keys_rmd.expand(rows, -1, -1)
        sums = torch.stack([_weighted(*row) for row in zip(queries, keys, values, strict=True)])
    return (sums[..., :-1] / sums[..., -1:]).to(values_rme.dtype)


def _weighted(query_nd: Tensor, keys_md: Tensor, values_mf: Tensor) -> Tensor:
    """Sums of values, weighted by the exponentials of scores: float32 N x F. Scores are known to be small, so
    no maximum is subtracted."""
    queries, keys = query_nd.float() * LOG2_E, keys_md.float()
    values_fm = values_mf.float().T
    sums = queries.new_zeros(len(queries), len(values_fm))
    for keys_kd, values_fk in zip(keys.split(KEY_BLOCK), values_fm.split(KEY_BLOCK, 1), strict=True):
        # Computing with subnormal float32 numbers would take many times as long.
        weights_nk = product(queries, keys_kd).clamp_(min=LOWEST_POWER).exp2_()
        sums += product(weights_nk, values_fk)
    return sums
