"""Pooled reads: cross-attention to averages of the keys and values of 2 x 2 cells of a spatial memory.

The memory stays as it was written; only what attention reads is a quarter as long.

Source: Xiong et al., "Efficient Track Anything", 2024 ("Efficient Memory Cross-Attention").
"""

from __future__ import annotations

from torch import Tensor

from vidseg.memory.attention import AttentionSettings, MemoryTokens, RotaryCrossAttention
from vidseg.memory.blocked_attention import use_blocks
from vidseg.memory.gpu_kernels import has_read_kernel
from vidseg.memory.pooled_reads import SizeTerm, attend_pooled


class PooledSettings(AttentionSettings):
    """What a YAML says of pooled memory attention; see `PooledCrossAttention`."""

    size_term: SizeTerm = "logits"
    """Where the logarithm of the number of cells is added: see `PooledCrossAttention`."""


class PooledCrossAttention(RotaryCrossAttention):
    """Rotary cross-attention to pooled keys and values; object pointers stay as they are.

    Keys are pooled after they have turned with their cells. A single memory frame is read whole.

    Args:
        channels: C of the queries.
        kv_channels: C of the memory tokens.
        size_term: where the logarithm of the pooled cells' number is added. 'logits' (EfficientTAM's `/1`
            configurations) is the method: on a memory that is constant over the squares it equals reading all
            of it. 'keys' (its `/2` configurations) adds it to every component of the pooled keys, which
            shifts the logits by a multiple of the query's sum; checkpoints trained with it need it.
    """

    def __init__(self, channels: int, kv_channels: int, size_term: SizeTerm = "logits") -> None:
        super().__init__(channels, kv_channels)
        self.size_term = size_term

    def forward(self, x_bnc: Tensor, memory: MemoryTokens, grid_hw: tuple[int, int]) -> Tensor:
        if memory.num_frames == 1:
            return super().forward(x_bnc, memory, grid_hw)
        q, k = self.queries(x_bnc, grid_hw), self.keys(memory, grid_hw)
        how = (memory.num_frames, grid_hw, self.size_term)
        by_kernel = self.read_by == "narrow" and has_read_kernel(q)
        if use_blocks(q) or by_kernel:
            # Projection and average commute; averaging tokens of 64 channels is a quarter of the work.
            return self.out_proj(
                self.v_proj(attend_pooled(q, k, memory.tokens_bmc, *how, by_kernel=by_kernel))
            )
        return self.out_proj(attend_pooled(q, k, self.v_proj(memory.tokens_bmc), *how))
