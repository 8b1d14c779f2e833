"""Attention whose logits also depend on the row and the column in which a key lies relative to the query.

The biases of all pairs of a query and a key are as large as the matrix of scores: in float32, 67 MB for each
head of SAM's grid of 64 x 64. No more than one head's are ever held; on the CPU, no more than those of a few
queries.

Layouts: B images or windows · H heads · N = Y·X queries and keys of a grid · D channels of a head · R queries
of a block.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vidseg.memory.blocked_attention import LOG2_E, MANY_ROWS, use_blocks
from vidseg.memory.threads import split_rows
from vidseg.memory.window_attention import attend_in_windows

ROW_BLOCK = 128
"""How many queries a block takes on the CPU: their scores for 4096 keys are 2 MB, and stay in the cache."""

FAST_TYPES = (torch.float32, torch.bfloat16)
"""Types in which blocks are faster than PyTorch's fused attention with a matrix of biases: 3 times in
float32, 6 times in bfloat16, measured on a processor with AVX-512."""


def attend_with_biases(
    q_bhnd: Tensor, k_bhnd: Tensor, v_bhnd: Tensor, by_row_bhny: Tensor, by_column_bhnx: Tensor
) -> Tensor:
    """Scaled dot-product attention with biases: B x H x N x D.

    Args:
        by_row_bhny: for each query, what is added to the logits of all keys of a row.
        by_column_bhnx: the same for the keys of a column.
    """
    out_bhnd = []
    for head in range(q_bhnd.shape[1]):
        of_head = [x[:, head] for x in (q_bhnd, k_bhnd, v_bhnd, by_row_bhny, by_column_bhnx)]
        if use_blocks(q_bhnd) and q_bhnd.dtype in FAST_TYPES and q_bhnd.shape[2] >= MANY_ROWS:
            out_bhnd.append(torch.stack([_in_blocks(*each) for each in zip(*of_head, strict=True)]))
        else:
            q, k, v, by_row, by_column = of_head
            biases = (by_row[..., :, None] + by_column[..., None, :]).flatten(2)
            one_head = (x[:, None] for x in (q, k, v, biases))
            out_bhnd.append(attend_in_windows(*one_head)[:, 0])
    return torch.stack(out_bhnd, dim=1)


def _in_blocks(q_nd: Tensor, k_nd: Tensor, v_nd: Tensor, by_row_ny: Tensor, by_column_nx: Tensor) -> Tensor:
    """One head's attention. Exponentials are taken to base 2, several times faster than to base e."""
    out_nd = torch.empty_like(v_nd, memory_format=torch.contiguous_format)
    keys_dn = (k_nd * (LOG2_E / math.sqrt(k_nd.shape[1]))).T.contiguous()
    values_nd = v_nd.contiguous()
    by_row_ny, by_column_nx = by_row_ny * LOG2_E, by_column_nx * LOG2_E
    grid_yx = (by_row_ny.shape[1], by_column_nx.shape[1])

    def attend(rows: slice) -> None:
        room = q_nd.new_empty(min(ROW_BLOCK, rows.stop - rows.start), *grid_yx)
        for start in range(rows.start, rows.stop, ROW_BLOCK):
            block = slice(start, min(start + ROW_BLOCK, rows.stop))
            biases_ryx = room[: block.stop - block.start]
            torch.add(by_row_ny[block, :, None], by_column_nx[block, None], out=biases_ryx)
            scores_rn = biases_ryx.flatten(1).addmm_(q_nd[block], keys_dn)
            weights_rn = scores_rn.sub_(scores_rn.amax(dim=1, keepdim=True)).exp2_()
            sums_r1 = weights_rn.sum(dim=1, keepdim=True, dtype=torch.float32)
            out_nd[block] = (weights_rn @ values_nd) / sums_r1

    split_rows(attend, q_nd.shape[0])
    return out_nd
