"""Reads of averages: attention to the keys and values of 2 x 2 cells of a grid at once.

An average stands for the cells in it, so it should count as often in the softmax as they do: the logarithm of
their number is added to its logits.

Sources: Xiong et al., "Efficient Track Anything", 2024 ("Efficient Memory Cross-Attention"); Bolya et al.,
"Token Merging: Your ViT But Faster" (arXiv:2210.09461), where it is called proportional attention.

Layouts in names: B objects · N tokens of the frame · M memory tokens · C channels · D channels of a value.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory.blocked_attention import read_tokens, use_blocks
from vidseg.memory.gpu_kernels import read_by_kernel

SizeTerm = Literal["logits", "keys"]


def pool_frames(tokens_bmc: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Average each frame's tokens over squares of 2 x 2 cells: B x (T·H·W) x C to a quarter as many tokens.

    On a grid with an odd side the last squares hold two cells or one.
    """
    frames = tokens_bmc.reshape(-1, *grid_hw, tokens_bmc.shape[-1]).permute(0, 3, 1, 2)
    pooled = F.avg_pool2d(frames, 2, ceil_mode=True)
    return pooled.permute(0, 2, 3, 1).reshape(tokens_bmc.shape[0], -1, tokens_bmc.shape[-1])


def count_cells(num_frames: int, grid_hw: tuple[int, int], like: Tensor) -> Tensor:
    """How many cells each pooled token of `num_frames` frames averages: 1-D, in the type of `like`."""
    rows, columns = ((side - torch.arange(0, side, 2, device=like.device)).clamp(max=2) for side in grid_hw)
    return torch.outer(rows, columns).flatten().repeat(num_frames).to(like.dtype)


def attend_pooled(
    q_bnc: Tensor,
    k_bmc: Tensor,
    v_bmd: Tensor,
    num_frames: int,
    grid_hw: tuple[int, int],
    size_term: SizeTerm = "logits",
    *,
    by_kernel: bool = False,
) -> Tensor:
    """Single-head attention to the pooled tokens of `num_frames` frames and to whatever follows them.

    Args:
        q_bnc: queries, projected and turned.
        k_bmc: keys, projected and turned: T·H·W of the frames, then those of object pointers.
        v_bmd: their values.
        by_kernel: whether to use `read_by_kernel`, which weighs keys without a mask.

    Returns:
        what each query reads, B x N x D.
    """
    num_spatial = num_frames * math.prod(grid_hw)
    num_pointer_tokens = k_bmc.shape[1] - num_spatial
    pooled_k = pool_frames(k_bmc[:, :num_spatial], grid_hw)
    cells = None
    if size_term == "keys":
        pooled_k = pooled_k + 2 * math.log(2)
    elif num_pointer_tokens or any(side % 2 for side in grid_hw):  # else all weigh alike
        cells = F.pad(count_cells(num_frames, grid_hw, q_bnc), (0, num_pointer_tokens), value=1.0)
    k = torch.cat((pooled_k, k_bmc[:, num_spatial:]), dim=1)
    pooled_v = pool_frames(v_bmd[:, :num_spatial], grid_hw)
    v = torch.cat((pooled_v, v_bmd[:, num_spatial:]), dim=1)
    if use_blocks(q_bnc):
        log2_cells = None if cells is None else cells.log2()
        return torch.stack([read_tokens(*row, log2_cells) for row in zip(q_bnc, k, v, strict=True)])
    if by_kernel:
        return read_by_kernel(q_bnc, k, v, None if cells is None else cells.float().log2())
    # One row of biases serves all queries; attention broadcasts it and never writes N x M numbers.
    bias = None if cells is None else cells.log().expand(q_bnc.shape[0], 1, 1, -1)
    return F.scaled_dot_product_attention(q_bnc[:, None], k[:, None], v[:, None], attn_mask=bias)[:, 0]
