"""Cross-attention to spatial memories on the CPU, with half the operations of the plain form.

Two identities save work; both are exact but for rounding.

1. A memory token has 64 channels and its value is a linear map of them, so the softmax averages the tokens
   themselves, and the map is applied once to the average: 64 channels instead of 256.
2. A key is R(p) (W x + b), with R(p) the rotation of its cell p = (px, py). Half of the channels turn with py
   alone. For keys of one row of the grid that half of the score is qᵀ R(py) W x = (Wᵀ R(py)ᵀ q)ᵀ x: fold the
   projection into the query once a row, and 64 token channels stand for 128 rotated ones.

Layouts: N queries · T memory frames · H W grid · C query channels · D token channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vidseg.memory.blocked_attention import LOG2_E, RunningSoftmax
from vidseg.memory.rope import axial_rotation, rotate
from vidseg.memory.threads import split_rows

ROWS_PER_FOLD = 8
"""For how many rows of the grid the key projection is folded into the queries in one product."""


def read_spatial_memory(
    q_nc: Tensor,
    tokens_md: Tensor,
    positions_md: Tensor,
    num_pointer_tokens: int,
    num_frames: int,
    grid_hw: tuple[int, int],
    key_weight_cd: Tensor,
    key_bias_c: Tensor,
) -> Tensor:
    """Softmax-weighted averages of the memory tokens, not yet projected to values: N x D.

    Args:
        q_nc: projected and rotated queries of one object.
        tokens_md: T·H·W spatial tokens, frame by frame, then pointer tokens, whose keys are not rotated.
        positions_md: position codes, added to the tokens to make keys.
        key_weight_cd: weight of the key projection; `key_bias_c` is its bias.
    """
    height, width = grid_hw
    channels, token_channels = key_weight_cd.shape
    num_spatial = tokens_md.shape[0] - num_pointer_tokens
    half = channels // 2
    rotation = axial_rotation(channels, height, width, device=q_nc.device).view(height, width, -1, 2)
    turn_x = rotation[0, :, : half // 2].repeat_interleave(num_frames, dim=0)
    turn_y = rotation[:, 0, half // 2 :]
    keyed_md = tokens_md + positions_md

    def by_row(x_md: Tensor) -> Tensor:
        """Spatial tokens by row of the grid: H x (W·T) x D."""
        grid = x_md[:num_spatial].view(num_frames, height, width, token_channels)
        return grid.permute(1, 2, 0, 3).reshape(height, width * num_frames, token_channels)

    # Channels of a row's keys: the token | 1 (meets the folded bias) | turned x half | 1 (meets the maximum).
    rows_hkd = by_row(keyed_md)
    keys_x = rotate(rows_hkd @ key_weight_cd[:half].T + key_bias_c[:half], turn_x)
    folded = token_channels + 1
    keys_hkd = rows_hkd.new_ones(height, width * num_frames, folded + half + 1)
    keys_hkd[..., :token_channels] = rows_hkd
    keys_hkd[..., folded:-1] = keys_x
    values_hkd = by_row(tokens_md)

    # The projection is folded for several rows of the grid at once: a wider product runs at a better rate.
    fold_hdc = rotate(key_weight_cd[half:].T.contiguous(), turn_y[:, None])
    folds = [part.flatten(0, 1).T for part in fold_hdc.split(ROWS_PER_FOLD)]
    bias_hc = rotate(key_bias_c[half:], turn_y)

    pointer_keys = keyed_md[num_spatial:] @ key_weight_cd.T + key_bias_c
    pointer_keys = torch.cat((pointer_keys, pointer_keys.new_ones(num_pointer_tokens, 1)), dim=1)
    pointer_values = tokens_md[num_spatial:]
    out_nd = q_nc.new_empty(q_nc.shape[0], token_channels)

    def read(rows: slice) -> None:
        q = q_nc[rows] * (LOG2_E / math.sqrt(channels))
        q_y = q[:, half:].contiguous()
        queries = q.new_empty(q.shape[0], folded + half + 1)
        queries[:, folded:-1] = q[:, :half]
        biases_nh = q_y @ bias_hc.T
        softmax = RunningSoftmax(queries, token_channels)
        for row in range(height):
            group, place = divmod(row, ROWS_PER_FOLD)
            if place == 0:
                folded_q = (q_y @ folds[group]).unflatten(1, (-1, token_channels))
            queries[:, :token_channels] = folded_q[:, place]
            queries[:, token_channels] = biases_nh[:, row]
            softmax.add(keys_hkd[row].T, values_hkd[row])
        if num_pointer_tokens:
            softmax.use_queries(torch.cat((q, queries[:, -1:]), dim=1))
            softmax.add(pointer_keys.T, pointer_values)
        out_nd[rows] = softmax.result()

    split_rows(read, q_nc.shape[0])
    return out_nd
