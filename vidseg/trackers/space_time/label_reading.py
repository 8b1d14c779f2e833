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
        if is_read_rm is None:
            return _read(keys_rnd * self.sharpness(), memory_rmd, values_rme)
        scores = (keys_rnd * self.sharpness()) @ memory_rmd.transpose(1, 2)
        return scores.masked_fill(~is_read_rm[:, None], -torch.inf).softmax(dim=2) @ values_rme

    def sharpness(self) -> Tensor:
        """The factor on cosines in the exponent."""
        return self.log_sharpness.exp().clamp(max=MAX_SHARPNESS)


def _read(query_rnd: Tensor, keys_rmd: Tensor, values_rme: Tensor) -> Tensor:
    rows = values_rme.shape[0]
    if query_rnd.shape[0] == 1 and keys_rmd.shape[0] == 1:
        # All rows share one comparison of keys; their values are put side by side.
        values_mre = values_rme.transpose(0, 1).flatten(1)
        return _average(query_rnd[0], keys_rmd[0], values_mre).unflatten(1, (rows, -1)).transpose(0, 1)
    queries, keys = query_rnd.expand(rows, -1, -1), keys_rmd.expand(rows, -1, -1)
    if use_blocks(queries):
        return torch.stack([_average(*row) for row in zip(queries, keys, values_rme, strict=True)])
    return (queries @ keys.transpose(1, 2)).softmax(dim=2) @ values_rme


def _average(query_nd: Tensor, keys_md: Tensor, values_me: Tensor) -> Tensor:
    """Values averaged by softmax. Scores are known to be small, so no maximum is subtracted."""
    if not use_blocks(query_nd):
        return (query_nd @ keys_md.T).softmax(dim=1) @ values_me
    # A column of ones in the values gives the sum of weights in the same product.
    queries, keys_dm = query_nd.float() * LOG2_E, keys_md.float().T
    values = torch.cat((values_me.float(), values_me.new_ones(len(values_me), 1, dtype=torch.float32)), dim=1)
    sums = queries.new_zeros(queries.shape[0], values.shape[1])
    # Reuse one buffer for all scores: allocating would cost as much as the products.
    memory = queries.new_empty(queries.shape[0] * KEY_BLOCK)
    for keys_dk, values_ke in zip(keys_dm.split(KEY_BLOCK, 1), values.split(KEY_BLOCK), strict=True):
        shape = (queries.shape[0], keys_dk.shape[1])
        scores = torch.mm(queries, keys_dk, out=memory[: shape[0] * shape[1]].view(shape))
        # Computing with subnormal float32 numbers would take many times as long.
        sums.addmm_(scores.clamp_(min=LOWEST_POWER).exp2_(), values_ke)
    return (sums[:, :-1] / sums[:, -1:]).to(values_me.dtype)
