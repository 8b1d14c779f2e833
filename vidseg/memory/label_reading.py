"""Reading labels from memory: every cell of the frame takes the average label of the memory cells like it.

A memory token is a key, which says what a cell looks like, and a value, which says what was there: learned
channels and the mask itself, so that reading carries labels over directly. Keys belong to the frame and
values to the object; objects that remember the same frames share one comparison of keys.

Source: Oh et al., "Video Object Segmentation using Space-Time Memory Networks" (ICCV 2019); the locality of
the recent read after Seong et al., "Kernelized Memory Network" (ECCV 2020).

Layouts: R rows (objects) · N cells of the frame · M memory tokens · D key channels · E value channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.memory.blocked_attention import LOG2_E, use_blocks

MAX_SHARPNESS = 40.0
"""Of a cosine in the exponent; what float32 sums with ease."""
LOWEST_POWER = -100.0
KEY_BLOCK = 512
"""Scores of a block stay in the cache."""


class LabelReading(nn.Module):
    """Two reads by cosine similarity: of conditioning frames, anywhere, and of recent frames, near by.

    Args:
        recent_slots: recent frames that may be read; each learns how far from a cell its match may lie.
    """

    def __init__(self, recent_slots: int) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.tensor([math.log(14.0)] * 2))
        # Local from the start: a cell most often has the label it had before, and little has to be learned.
        self.log_penalty = nn.Parameter(torch.linspace(0.0, -1.5, recent_slots))

    def _sharpness(self, read: int) -> Tensor:
        return self.log_sharpness[read].exp().clamp(max=MAX_SHARPNESS)

    def anywhere(self, keys_rnd: Tensor, memory_rmd: Tensor, values_rme: Tensor) -> Tensor:
        """R x N x E. Rows of keys and of memories may be 1 where they are the same for all."""
        return _read(keys_rnd * self._sharpness(0), memory_rmd, values_rme)

    def near_by(
        self,
        keys_rnd: Tensor,
        frames: Sequence[tuple[int, Tensor, Tensor]],
        grid_hw: tuple[int, int],
    ) -> Tensor:
        """R x N x E.

        Args:
            frames: (slot, keys R x M x D, values R x M x E) of each frame, newest or oldest first; frames of
                slot 0 are read cell by cell, older ones in cells of twice the size.
        """
        # The penalty -p·|x - y|² is part of the product: p·(2x·y - |y|² - |x|²), four more channels.
        place_n2 = _places(grid_hw, 1, keys_rnd)
        square_n1 = place_n2.square().sum(dim=2, keepdim=True)
        place_n4 = torch.cat((2 * place_n2, -torch.ones_like(square_n1), -square_n1), dim=2)
        query = torch.cat((keys_rnd * self._sharpness(1), place_n4.expand(keys_rnd.shape[0], -1, -1)), dim=2)
        all_keys, all_values = [], []
        for slot, keys, values in frames:
            step = 1 if slot == 0 else 2
            if step == 2:
                keys, values = _halve(keys, grid_hw), _halve(values, grid_hw)
                keys = F.normalize(keys, dim=2)
            place_m2 = _places(grid_hw, step, keys_rnd)
            penalty = self.log_penalty[slot].exp()
            square_m1 = place_m2.square().sum(dim=2, keepdim=True)
            place_m4 = torch.cat((place_m2, square_m1, torch.ones_like(square_m1)), dim=2) * penalty
            all_keys.append(torch.cat((keys, place_m4.expand(keys.shape[0], -1, -1)), dim=2))
            all_values.append(values)
        return _read(query, torch.cat(all_keys, dim=1), torch.cat(all_values, dim=1))


def _places(grid_hw: tuple[int, int], step: int, like: Tensor) -> Tensor:
    """Centres of cells, in cells from the middle of the grid: 1 x (H/step · W/step) x 2."""
    axes = [
        (torch.arange(0, size, step, device=like.device, dtype=like.dtype) + (step - 1) / 2 - (size - 1) / 2)
        for size in grid_hw
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=2).reshape(1, -1, 2)


def _halve(x_rmc: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    x = x_rmc.transpose(1, 2).unflatten(2, grid_hw)
    return F.avg_pool2d(x, 2, ceil_mode=True).flatten(2).transpose(1, 2)


def _read(query_rnd: Tensor, keys_rmd: Tensor, values_rme: Tensor) -> Tensor:
    rows = values_rme.shape[0]
    if query_rnd.shape[0] == 1 and keys_rmd.shape[0] == 1:
        # One comparison for all rows: their values side by side.
        values_mre = values_rme.transpose(0, 1).flatten(1)
        return _average(query_rnd[0], keys_rmd[0], values_mre).unflatten(1, (rows, -1)).transpose(0, 1)
    queries, keys = query_rnd.expand(rows, -1, -1), keys_rmd.expand(rows, -1, -1)
    if use_blocks(queries):
        return torch.stack([_average(*row) for row in zip(queries, keys, values_rme, strict=True)])
    return (queries @ keys.transpose(1, 2)).softmax(dim=2) @ values_rme


def _average(query_nd: Tensor, keys_md: Tensor, values_me: Tensor) -> Tensor:
    """Values averaged by the softmax of products that are known to be small: no maximum is looked for."""
    if not use_blocks(query_nd):
        return (query_nd @ keys_md.T).softmax(dim=1) @ values_me
    # A value of one for every key gives the sum of weights in the same product.
    queries, keys_dm = query_nd.float() * LOG2_E, keys_md.float().T
    values = torch.cat((values_me.float(), values_me.new_ones(len(values_me), 1, dtype=torch.float32)), dim=1)
    sums = queries.new_zeros(queries.shape[0], values.shape[1])
    # One piece of memory for all scores: fresh pieces would cost as much as the products.
    memory = queries.new_empty(queries.shape[0] * KEY_BLOCK)
    for keys_dk, values_ke in zip(keys_dm.split(KEY_BLOCK, 1), values.split(KEY_BLOCK), strict=True):
        shape = (queries.shape[0], keys_dk.shape[1])
        scores = torch.mm(queries, keys_dk, out=memory[: shape[0] * shape[1]].view(shape))
        # Powers too small for a normal float32 take many times as long.
        sums.addmm_(scores.clamp_(min=LOWEST_POWER).exp2_(), values_ke)
    return (sums[:, :-1] / sums[:, -1:]).to(values_me.dtype)
