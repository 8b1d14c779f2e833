"""Memory attention: the current frame's features read the memory bank.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos", section 4 ("Memory attention").

Layouts in names: B objects · N tokens of the frame · M memory tokens · C channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from vidseg.memory.blocked_attention import attend_in_blocks, fused_lags, read_tokens, use_blocks
from vidseg.memory.gpu_kernels import FUSED, ReadBy, has_read_kernel, has_triton, read_by_kernel, turn_first
from vidseg.memory.linear import Linear
from vidseg.memory.pooled_reads import attend_pooled
from vidseg.memory.rope import axial_rotation, rotate
from vidseg.memory.rotary_attention import read_spatial_memory
from vidseg.validation import Strict


@dataclass(frozen=True, slots=True)
class MemoryTokens:
    """What attention reads, for B objects whose banks have the same shape."""

    tokens_bmc: Tensor
    """B x M x C: the spatial memories frame by frame, then the object pointers cut into tokens. C is the
    width of a memory, 64 in SAM 2."""
    positions_bmc: Tensor
    """Codes of place and time, B x M x C. They are added to the tokens to make keys; values go without."""
    num_pointer_tokens: int
    """How many tokens at the end belong to pointers, which have no place in the frame."""
    num_frames: int
    """How many memory frames the spatial tokens come from."""


class _Projections(nn.Module):
    """The four projections of single-head attention, named as in the official checkpoints."""

    uses_kernels = False
    """Whether tokens are turned by a kernel in Triton on a GPU; see `use_kernels`."""

    def __init__(self, channels: int, kv_channels: int) -> None:
        super().__init__()
        self.q_proj = Linear(channels, channels)
        self.k_proj = Linear(kv_channels, channels)
        self.v_proj = Linear(kv_channels, channels)
        self.out_proj = Linear(channels, channels)

    def _turned(self, x_bnc: Tensor, rotation: Tensor) -> Tensor:
        """A token for each cell, turned with its cell."""
        if self.uses_kernels:
            return turn_first(x_bnc, rotation, x_bnc.shape[1], by_kernel=True)
        return rotate(x_bnc, rotation)


def use_kernels(model: nn.Module) -> None:
    """Have memory attention turn tokens by a kernel in Triton on a GPU, where it can be built."""
    attentions = [part for part in model.modules() if isinstance(part, _Projections)]
    if attentions and has_triton():
        for attention in attentions:
            attention.uses_kernels = True


def attend(q_bnc: Tensor, k_bmc: Tensor, v_bmc: Tensor, by: ReadBy = "any") -> Tensor:
    """Single-head scaled dot-product attention: B x N x C, by blocked kernels where those are faster."""
    if fused_lags(q_bnc):
        return attend_in_blocks(q_bnc[:, None], k_bmc[:, None], v_bmc[:, None])[:, 0]
    return FUSED[by](q_bnc[:, None], k_bmc[:, None], v_bmc[:, None])[:, 0]


class RotarySelfAttention(_Projections):
    """Self-attention of a frame's features; queries and keys turn with their cell of the grid (RoPE).

    Args:
        is_pooled: see `AttentionSettings.pools_frame`.
    """

    def __init__(self, channels: int, *, is_pooled: bool = False) -> None:
        super().__init__(channels, channels)
        self.is_pooled = is_pooled

    def forward(self, x_bnc: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        rotation = axial_rotation(x_bnc.shape[-1], *grid_hw, device=x_bnc.device)
        q, k = self._turned(self.q_proj(x_bnc), rotation), self._turned(self.k_proj(x_bnc), rotation)
        v = self.v_proj(x_bnc)
        return self.out_proj(attend_pooled(q, k, v, 1, grid_hw) if self.is_pooled else attend(q, k, v))


class MemoryCrossAttention(_Projections, ABC):
    """Cross-attention of a frame's features to the memory; a subclass says how keys are made.

    Queries turn with their cell of the frame's grid.
    """

    window_latents: int | None = None
    """See `MemoryAttention.window_latents`."""
    read_by: ReadBy = "any"
    """How memory is read on a GPU; see `vidseg.memory.read_choice`."""

    @abstractmethod
    def keys(self, memory: MemoryTokens, grid_hw: tuple[int, int]) -> Tensor:
        """Keys of the memory tokens, projected and turned: B x M x C."""

    def queries(self, x_bnc: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Queries of the frame's features, projected and turned: B x N x C."""
        rotation = axial_rotation(self.q_proj.out_features, *grid_hw, device=x_bnc.device)
        return self._turned(self.q_proj(x_bnc), rotation)

    def forward(self, x_bnc: Tensor, memory: MemoryTokens, grid_hw: tuple[int, int]) -> Tensor:
        q, k = self.queries(x_bnc, grid_hw), self.keys(memory, grid_hw)
        if use_blocks(q):
            # Projection and average commute; averaging tokens of 64 channels is a quarter of the work.
            rows = zip(q, k, memory.tokens_bmc, strict=True)
            return self.out_proj(self.v_proj(torch.stack([read_tokens(*row) for row in rows])))
        if self.read_by == "narrow" and has_read_kernel(q):
            return self.out_proj(self.v_proj(read_by_kernel(q, k, memory.tokens_bmc)))
        by: ReadBy = "any" if self.read_by == "narrow" else self.read_by
        return self.out_proj(attend(q, k, self.v_proj(memory.tokens_bmc), by))


class RotaryCrossAttention(MemoryCrossAttention):
    """Cross-attention to spatial memories on the frame's own grid: keys turn with their cell, pointers do
    not."""

    def __init__(self, channels: int, kv_channels: int) -> None:
        super().__init__(channels, kv_channels)

    def keys(self, memory: MemoryTokens, grid_hw: tuple[int, int]) -> Tensor:
        rotation = axial_rotation(self.q_proj.out_features, *grid_hw, device=memory.tokens_bmc.device)
        k = self.k_proj(memory.tokens_bmc + memory.positions_bmc)
        num_turned = k.shape[1] - memory.num_pointer_tokens
        return turn_first(k, rotation, num_turned, by_kernel=self.uses_kernels)

    def forward(self, x_bnc: Tensor, memory: MemoryTokens, grid_hw: tuple[int, int]) -> Tensor:
        if not use_blocks(x_bnc):
            return super().forward(x_bnc, memory, grid_hw)
        rows = zip(self.queries(x_bnc, grid_hw), memory.tokens_bmc, memory.positions_bmc, strict=True)
        averages = [
            read_spatial_memory(
                q,
                tokens,
                positions,
                memory.num_pointer_tokens,
                memory.num_frames,
                grid_hw,
                self.k_proj.weight,
                self.k_proj.bias,
            )
            for q, tokens, positions in rows
        ]
        return self.out_proj(self.v_proj(torch.stack(averages)))


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to the memory, feed-forward; each with a norm before it."""

    def __init__(
        self,
        channels: int,
        feedforward: int,
        cross_attention: MemoryCrossAttention,
        *,
        pools_frame: bool = False,
    ) -> None:
        super().__init__()
        self.self_attn = RotarySelfAttention(channels, is_pooled=pools_frame)
        self.cross_attn_image = cross_attention
        self.linear1 = Linear(channels, feedforward, "relu")
        self.linear2 = Linear(feedforward, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, x_bnc: Tensor, memory: MemoryTokens, grid_hw: tuple[int, int]) -> Tensor:
        x_bnc = x_bnc + self.self_attn(self.norm1(x_bnc), grid_hw)
        # In the first layer x is one row: objects share the frame, so its self-attention ran once for all.
        x_bnc = x_bnc.expand(memory.tokens_bmc.shape[0], -1, -1)
        x_bnc = x_bnc + self.cross_attn_image(self.norm2(x_bnc), memory, grid_hw)
        return x_bnc + self.linear2(self.linear1(self.norm3(x_bnc)))


class AttentionSettings(Strict):
    """What a YAML says of memory attention."""

    layers: int = Field(default=4, ge=1)
    """How many layers follow one another."""
    feedforward: int = Field(default=2048, ge=1)
    """Width of a layer's feed-forward part."""
    pools_frame: bool = False
    """Whether self-attention reads averages of 2 x 2 cells of the frame (`vidseg.memory.pooled_reads`)."""


class MemoryAttention(nn.Module):
    """The stack of layers that conditions a frame's features on what the bank remembers."""

    def __init__(self, layers: list[MemoryAttentionLayer], channels: int) -> None:
        super().__init__()
        self.window_latents = layers[0].cross_attn_image.window_latents
        """How many tokens at the end of each memory frame are latents with a place; the compressor must leave
        as many. None: memories are read as they are, one token for each cell of the frame's grid."""
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features_1chw: Tensor, position_chw: Tensor, memory: MemoryTokens) -> Tensor:
        """Condition one frame's features on the memories of B objects.

        Args:
            features_1chw: the frame's coarsest features, shared by all objects.
            position_chw: the sine encoding of their grid.

        Returns:
            B x C x H x W.
        """
        _, channels, height, width = features_1chw.shape
        x_bnc = (features_1chw + 0.1 * position_chw).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x_bnc = layer(x_bnc, memory, (height, width))
        return self.norm(x_bnc).transpose(1, 2).reshape(-1, channels, height, width)
