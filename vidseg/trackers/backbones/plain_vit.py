"""A plain vision transformer: the image encoder of EfficientTAM (windowed) and of EfficientSAM (global).

Source: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022; Xiong et
al., "Efficient Track Anything", 2024, and "EfficientSAM", CVPR 2024 (arXiv:2312.00863). Parameter names are
those of EfficientTAM's published checkpoints.

Layouts in names: B images · Y X rows and columns of the patch grid · W windows · N tokens of a window ·
H heads · D channels of a head · C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidseg.errors import ConfigError, unknown
from vidseg.memory.blocked_attention import attend_in_blocks, fused_lags
from vidseg.memory.linear import Linear
from vidseg.trackers.backbones.kept import KeptPositions
from vidseg.trackers.backbones.widths import BlockWidths, divided, of_each_block
from vidseg.trackers.backbones.windows import from_windows, to_windows
from vidseg.trackers.mlp import MLP
from vidseg.validation import Strict

PATCH = 16
PRETRAINED_GRID = 14
"""Side of the patch grid on which positions were learned (images of 224 pixels)."""

DEPTH = 12
"""Number of blocks."""

VARIANTS: dict[str, tuple[int, int]] = {"tiny": (192, 3), "small": (384, 6)}
"""Name -> channels and heads."""


class Attention(nn.Module):
    """Multi-head self-attention over the whole grid, or within windows.

    Args:
        channels: of what comes in and goes out.
        heads: number of heads.
        window: side of the windows in patches; None for the whole grid.
        inner: width of queries, keys and values: a multiple of `heads`; None: as many as `channels`.
    """

    def __init__(self, channels: int, heads: int, window: int | None, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or channels
        self.heads = heads
        self.window = window
        self.qkv = Linear(channels, 3 * inner)
        self.proj = Linear(inner, channels)
        self.products: nn.Module | None = None
        """Attends where operands are rounded, in place of the kernels; see `vidseg.trackers.low_bits`."""

    def forward(self, x_byxc: Tensor) -> Tensor:
        _, height, width, _ = x_byxc.shape
        if self.window is None:
            out_byxc = self._attend(x_byxc.flatten(1, 2)).unflatten(1, (height, width))
        else:
            # The model was trained with windows padded with zeros and without a mask, so padding takes part
            # in attention: the projection turns a zero into its bias.
            padded_byxc = F.pad(x_byxc, (0, 0, 0, -width % self.window, 0, -height % self.window))
            windows_wnc = self._attend(to_windows(padded_byxc, self.window))
            out_byxc = from_windows(windows_wnc, self.window, height, width)
        out: Tensor = self.proj(out_byxc)
        return out

    def _attend(self, x_wnc: Tensor) -> Tensor:
        q, k, v = self.qkv(x_wnc).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.products is not None:
            out: Tensor = self.products(q, k, v, None)
            return out.transpose(1, 2).flatten(2)
        attend = attend_in_blocks if fused_lags(q) else F.scaled_dot_product_attention
        return attend(q, k, v).transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Attention, then a perceptron; each with a norm before it.

    Args:
        heads, window, inner: see `Attention`.
        mlp: width of the perceptron's hidden layer.
    """

    def __init__(self, channels: int, heads: int, window: int | None, inner: int, mlp: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads, window, inner)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels, mlp, channels, num_layers=2, activation="gelu")

    def forward(self, x_byxc: Tensor) -> Tensor:
        x_byxc = x_byxc + self.attn(self.norm1(x_byxc))
        out: Tensor = x_byxc + self.mlp(self.norm2(x_byxc))
        return out


class _PatchEmbedding(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, PATCH, stride=PATCH)


class PlainViTSettings(Strict):
    """Settings of a `PlainViT` in a YAML; see its arguments."""

    variant: str
    windowed: bool = True
    """Whether most blocks attend within windows, as EfficientTAM's do; else each attends over the whole grid,
    as EfficientSAM's do."""
    depth: int = Field(default=DEPTH, ge=1)
    """Number of blocks."""
    global_blocks: list[int] = Field(default=[2, 5, 8, 11])
    """Numbers of the blocks that attend over the whole grid, if not all do."""
    channels: int | None = Field(default=None, ge=1)
    """Channels of the map, and between blocks; None: those of the variant. The variant has the heads."""
    attention: int | None = Field(default=None, ge=1)
    """Width of queries, keys and values, all heads together; None: as many as `channels`."""
    mlp: BlockWidths | None = None
    """Width of the perceptrons' hidden layer: one number, or one for each block; None: four times `channels`.
    """

    @model_validator(mode="after")
    def _fits(self) -> PlainViTSettings:
        if self.variant in VARIANTS:
            channels, heads = VARIANTS[self.variant]
            divided(self.attention or self.channels or channels, heads)
        of_each_block(self.mlp or 1, self.depth)
        return self


class PlainViT(nn.Module):
    """The encoder: images to one map at stride 16.

    Args:
        variant: a name in `VARIANTS`.
        depth: number of blocks.
        window: side of the windows, in patches.
        global_blocks: numbers of the blocks that attend over the whole grid.
        channels, attention, mlp: see `PlainViTSettings`.
    """

    mode: Literal["pyramid", "single-scale"] = "single-scale"

    @classmethod
    def of(cls, settings: PlainViTSettings) -> PlainViT:
        """A `PlainViT` with these settings.

        Raises:
            ConfigError: no such variant.
        """
        if settings.variant not in VARIANTS:
            raise ConfigError(unknown("plain ViT", settings.variant, VARIANTS))
        return cls(
            settings.variant,
            depth=settings.depth,
            global_blocks=tuple(settings.global_blocks if settings.windowed else range(settings.depth)),
            channels=settings.channels,
            attention=settings.attention,
            mlp=settings.mlp,
        )

    def __init__(
        self,
        variant: str = "small",
        depth: int = DEPTH,
        window: int = 14,
        global_blocks: tuple[int, ...] = (2, 5, 8, 11),
        *,
        channels: int | None = None,
        attention: int | None = None,
        mlp: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        published, heads = VARIANTS[variant]
        channels = channels or published
        self.windowed = len(global_blocks) < depth
        """Whether some blocks attend within windows alone."""
        self.channels: tuple[int, ...] = (channels,)
        self.strides: tuple[int, ...] = (PATCH,)
        self.patch_embed = _PatchEmbedding(channels)
        # The first position is that of the class token: checkpoints have it, and it is not used.
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + PRETRAINED_GRID**2, channels))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self._positions = KeptPositions()
        self.blocks = nn.ModuleList(
            Block(channels, heads, None if index in global_blocks else window, attention or channels, width)
            for index, width in enumerate(of_each_block(mlp or 4 * channels, depth))
        )

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """Features: [B x C x S/16 x S/16]. The sides of the images must be multiples of 16."""
        patches, positions = self.patches(images_b3ss)
        return [self.blocks_on(patches + positions).permute(0, 3, 1, 2)]

    def patches(self, images_b3ss: Tensor) -> tuple[Tensor, Tensor]:
        """What the blocks begin with: embedded patches B x Y x X x C, and their positions 1 x Y x X x C."""
        x_byxc = self.patch_embed.proj(images_b3ss).permute(0, 2, 3, 1)
        grid_hw = (x_byxc.shape[1], x_byxc.shape[2])
        # A sum has the memory layout of its first term, so channels are last in memory from here on.
        return x_byxc.contiguous(), self._positions.get(grid_hw, self._make_positions, self.pos_embed)

    def blocks_on(self, x_byxc: Tensor) -> Tensor:
        """The blocks, one after another."""
        for block in self.blocks:
            x_byxc = block(x_byxc)
        return x_byxc

    def _make_positions(self, height: int, width: int) -> Tensor:
        """Learned positions, resized to the grid: 1 x Y x X x C."""
        learned = self.pos_embed[:, 1:].unflatten(1, (PRETRAINED_GRID, PRETRAINED_GRID))
        if (height, width) == (PRETRAINED_GRID, PRETRAINED_GRID):
            return learned
        learned = learned.permute(0, 3, 1, 2)
        resized = F.interpolate(learned, (height, width), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)
