"""SAM's image encoder: a plain vision transformer with windows, and positions relative to each query.

Source: Kirillov et al., "Segment Anything", ICCV 2023, appendix A; Li et al., "Exploring Plain Vision
Transformer Backbones for Object Detection", ECCV 2022 (windows, relative positions by row and by column).

Layouts in names: B images · Y X rows and columns of the patch grid · W windows · N tokens of a window ·
H heads · D channels of a head · C channels.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidseg.memory.linear import Linear
from vidseg.trackers.backbones.kept import KeptPositions
from vidseg.trackers.backbones.relative_attention import attend_with_biases
from vidseg.trackers.backbones.widths import BlockWidths, divided, of_each_block
from vidseg.trackers.backbones.windows import from_windows, to_windows
from vidseg.trackers.mlp import MLP
from vidseg.validation import Strict

PATCH = 16


class SamViTSettings(Strict):
    """Settings of a `SamViT` in a YAML; the defaults are those of ViT-B."""

    channels: int = Field(default=768, ge=1)
    heads: int = Field(default=12, ge=1)
    depth: int = Field(default=12, ge=1)
    """Number of blocks."""
    global_blocks: list[int] = Field(default=[2, 5, 8, 11])
    """Numbers of the blocks that attend over the whole grid."""
    attention: int | None = Field(default=None, ge=1)
    """Width of queries, keys and values, all heads together; None: as many as `channels`."""
    mlp: BlockWidths = 3072
    """Width of the perceptrons' hidden layer: one number, or one for each block."""
    window: int = Field(default=14, ge=1)
    """Side of the windows, in patches."""
    grid: int = Field(default=64, ge=1)
    """Side of the patch grid on which positions were learned."""

    @property
    def inner(self) -> int:
        """Width of queries, keys and values."""
        return self.attention or self.channels

    @model_validator(mode="after")
    def _fits(self) -> SamViTSettings:
        divided(self.inner, self.heads)
        of_each_block(self.mlp, self.depth)
        return self


class Attention(nn.Module):
    """Multi-head self-attention whose logits also depend on where a key lies relative to the query.

    Args:
        channels: of what comes in and goes out.
        inner: of queries, keys and values: a multiple of `heads`.
        side: side of the grid, or of a window, on which relative positions were learned.
    """

    def __init__(self, channels: int, inner: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(channels, 3 * inner)
        self.proj = Linear(inner, channels)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, inner // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, inner // heads))
        self.products: nn.Module | None = None
        """Attends where operands are rounded, in place of the kernels; see `vidseg.trackers.low_bits`."""

    def forward(self, x_byxc: Tensor) -> Tensor:
        """Attention over the whole of each grid in the batch."""
        _, height, width, _ = x_byxc.shape
        q, k, v = self.qkv(x_byxc.flatten(1, 2)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q_bhyxd = q.unflatten(2, (height, width))
        # Graphs of float16 keep learned tables in float32.
        rows, columns = _lags(self.rel_pos_h, height).to(q.dtype), _lags(self.rel_pos_w, width).to(q.dtype)
        by_row = torch.einsum("bhyxd,ykd->bhyxk", q_bhyxd, rows).flatten(2, 3)
        by_column = torch.einsum("bhyxd,xkd->bhyxk", q_bhyxd, columns).flatten(2, 3)
        if self.products is None:
            out_bhnd = attend_with_biases(q, k, v, by_row, by_column)
        else:
            out_bhnd = self.products(q, k, v, (by_row[..., None] + by_column[..., None, :]).flatten(3))
        out: Tensor = self.proj(out_bhnd.transpose(1, 2).flatten(2).unflatten(1, (height, width)))
        return out


def _lags(learned_lc: Tensor, side: int) -> Tensor:
    """The embedding of each distance between a query and a key along one axis: side x side x C."""
    if len(learned_lc) != 2 * side - 1:
        resized = F.interpolate(learned_lc.T[None], 2 * side - 1, mode="linear")
        learned_lc = resized[0].T
    places = torch.arange(side, device=learned_lc.device)
    return learned_lc[places[:, None] - places + side - 1]


class Block(nn.Module):
    """Attention, then a perceptron; each with a norm before it.

    Args:
        mlp: width of the perceptron's hidden layer.
        window: side of the windows in patches; None for the whole grid.
    """

    def __init__(self, settings: SamViTSettings, mlp: int, window: int | None) -> None:
        super().__init__()
        channels = settings.channels
        self.window = window
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, settings.inner, settings.heads, window or settings.grid)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels, mlp, channels, num_layers=2, activation="gelu")

    def forward(self, x_byxc: Tensor) -> Tensor:
        x_byxc = x_byxc + self._attended(self.norm1(x_byxc))
        out: Tensor = x_byxc + self.mlp(self.norm2(x_byxc))
        return out

    def _attended(self, x_byxc: Tensor) -> Tensor:
        _, height, width, _ = x_byxc.shape
        window = self.window
        if window is None:
            out: Tensor = self.attn(x_byxc)
            return out
        # The model was trained with windows padded with zeros and without a mask, so padding takes part in
        # attention: the projection turns a zero into its bias.
        padded_byxc = F.pad(x_byxc, (0, 0, 0, -width % window, 0, -height % window))
        windows = to_windows(padded_byxc, window).unflatten(1, (window, window))
        return from_windows(self.attn(windows).flatten(1, 2), window, height, width)


class _PatchEmbedding(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, PATCH, stride=PATCH)


class SamViT(nn.Module):
    """SAM's encoder without its neck: images to one map at stride 16."""

    mode: Literal["pyramid", "single-scale"] = "single-scale"

    def __init__(self, settings: SamViTSettings) -> None:
        super().__init__()
        channels, grid = settings.channels, settings.grid
        self.channels: tuple[int, ...] = (channels,)
        self.strides: tuple[int, ...] = (PATCH,)
        self.patch_embed = _PatchEmbedding(channels)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, channels))
        self._positions = KeptPositions()
        self.blocks = nn.ModuleList(
            Block(settings, mlp, None if index in settings.global_blocks else settings.window)
            for index, mlp in enumerate(of_each_block(settings.mlp, settings.depth))
        )

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """Features: [B x C x S/16 x S/16]. The sides of the images must be multiples of 16."""
        x_byxc = self.patch_embed.proj(images_b3ss).permute(0, 2, 3, 1)
        grid_hw = (x_byxc.shape[1], x_byxc.shape[2])
        # A sum has the memory layout of its first term, so channels are last in memory from here on.
        x_byxc = x_byxc.contiguous() + self._positions.get(grid_hw, self._make_positions, self.pos_embed)
        for block in self.blocks:
            x_byxc = block(x_byxc)
        return [x_byxc.permute(0, 3, 1, 2)]

    def _make_positions(self, height: int, width: int) -> Tensor:
        """Learned positions, resized to the grid: 1 x Y x X x C."""
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        learned = self.pos_embed.permute(0, 3, 1, 2)
        resized = F.interpolate(learned, (height, width), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)
