"""EfficientViT: stages of convolutions, then stages whose attention costs as much as a convolution.

The softmax of attention is replaced by a ReLU of queries and keys: products are then grouped as q (kᵀ v), so
that the cost grows with the number of cells and not with its square. What such attention lacks in locality
comes from a second set of queries, keys and values, mixed over the neighbourhood of each cell.

Source: Cai et al., "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction", ICCV
2023; Zhang et al., "EfficientViT-SAM", CVPR 2024 workshops (sizes, the fusion of three stages), and their
code (github.com/mit-han-lab/efficientvit, Apache-2.0; the order of operations was read there).

Layouts in names: B images · H W rows and columns of a map · N its cells · G heads · D channels of a head.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.errors import ConfigError, unknown
from vidseg.memory.linear import Activation, activated
from vidseg.memory.norm import LayerNorm2d
from vidseg.trackers.backbones.conv_norm import Folded, folded
from vidseg.validation import Strict

HEAD = 32
"""Channels of a head."""
FUSED_CHANNELS = 256
"""Channels of the fused map, as SAM's heads take them."""
EPS = 1e-6
"""The epsilon of all norms, with which the published models were trained."""

Kind = Literal["residual", "fused", "inverted", "attention"]


@dataclass(frozen=True)
class EfficientViTConfig:
    """The shape of an EfficientViT; stage i has stride 2^(i + 1)."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    """Number of blocks in each stage, without the one that halves the map."""
    kinds: tuple[Kind, ...]
    expansions: tuple[int, ...]
    """How much wider blocks are inside; a block that halves the map is four times wider still."""
    neighbourhood: int
    """Side of the square over which the second queries, keys and values are mixed."""
    fusion_depth: int
    """Number of blocks after the sum of the three coarsest stages."""
    fusion_expansion: int


def _large(depths: tuple[int, ...], fusion_depth: int) -> EfficientViTConfig:
    return EfficientViTConfig(
        channels=(32, 64, 128, 256, 512),
        depths=depths,
        kinds=("residual", "fused", "fused", "inverted", "attention"),
        expansions=(1, 4, 4, 4, 6),
        neighbourhood=5,
        fusion_depth=fusion_depth,
        fusion_expansion=1,
    )


def _extra_large(depths: tuple[int, ...], fusion_depth: int) -> EfficientViTConfig:
    return EfficientViTConfig(
        channels=(32, 64, 128, 256, 512, 1024),
        depths=depths,
        kinds=("residual", "fused", "fused", "fused", "attention", "attention"),
        expansions=(1, 4, 4, 4, 4, 6),
        neighbourhood=3,
        fusion_depth=fusion_depth,
        fusion_expansion=4,
    )


VARIANTS: dict[str, EfficientViTConfig] = {
    "l0": _large((1, 1, 1, 4, 4), 4),
    "l1": _large((1, 1, 1, 6, 6), 8),
    "l2": _large((1, 2, 2, 8, 8), 12),
    "xl0": _extra_large((0, 1, 1, 2, 3, 3), 6),
    "xl1": _extra_large((1, 2, 2, 4, 6, 6), 12),
}


class ConvLayer(nn.Module):
    """A convolution, a batch norm (or the convolution's own bias), and an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        normed: bool = True,
        activation: Activation = "none",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=not normed
        )
        self.norm = nn.BatchNorm2d(out_channels, eps=EPS) if normed else nn.Identity()
        self.activation: Activation = activation

    def forward(self, x_bchw: Tensor) -> Tensor:
        return activated(self.norm(self.conv(x_bchw)), self.activation)

    def fused(self) -> Folded:
        """A single layer that computes the same in evaluation mode."""
        return folded(self.conv, self.norm, self.activation)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, channels, 3, activation="gelu-tanh")
        self.conv2 = ConvLayer(channels, channels, 3)

    def forward(self, x_bchw: Tensor) -> Tensor:
        return x_bchw + self.conv2(self.conv1(x_bchw))


class FusedBlock(nn.Module):
    """A 3x3 convolution that widens and a 1x1 convolution that narrows; added to their input at stride 1."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.is_residual = stride == 1
        self.spatial_conv = ConvLayer(in_channels, inner, 3, stride, activation="gelu-tanh")
        self.point_conv = ConvLayer(inner, out_channels, 1)

    def forward(self, x_bchw: Tensor) -> Tensor:
        out: Tensor = self.point_conv(self.spatial_conv(x_bchw))
        return x_bchw + out if self.is_residual else out


class InvertedBlock(nn.Module):
    """A block like `FusedBlock`, but a 1x1 convolution widens, and a depthwise 3x3 one mixes space."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.is_residual = stride == 1
        self.inverted_conv = ConvLayer(in_channels, inner, 1, normed=False, activation="gelu-tanh")
        self.depth_conv = ConvLayer(
            inner, inner, 3, stride, groups=inner, normed=False, activation="gelu-tanh"
        )
        self.point_conv = ConvLayer(inner, out_channels, 1)

    def forward(self, x_bchw: Tensor) -> Tensor:
        out: Tensor = self.point_conv(self.depth_conv(self.inverted_conv(x_bchw)))
        return x_bchw + out if self.is_residual else out


class LinearAttention(nn.Module):
    """Attention with a ReLU in place of the softmax, over each cell and over its neighbourhood."""

    def __init__(self, channels: int, neighbourhood: int) -> None:
        super().__init__()
        three = 3 * channels
        self.qkv = nn.Conv2d(channels, three, 1, bias=False)
        # Queries, keys and values of the neighbourhood: a depthwise convolution, then a mix within each.
        self.aggreg = nn.Sequential(
            nn.Conv2d(three, three, neighbourhood, padding=neighbourhood // 2, groups=three, bias=False),
            nn.Conv2d(three, three, 1, groups=three // HEAD, bias=False),
        )
        self.proj = ConvLayer(2 * channels, channels, 1)

    def forward(self, x_bchw: Tensor) -> Tensor:
        qkv = self.qkv(x_bchw)
        read = torch.cat([linear_attention(x) for x in (qkv, self.aggreg(qkv))], dim=-1)
        out: Tensor = self.proj(read.unflatten(1, x_bchw.shape[2:]).permute(0, 3, 1, 2))
        return x_bchw + out


def linear_attention(qkv_bchw: Tensor) -> Tensor:
    """What each cell reads: B x N x G·D, of queries, keys and values as channels (G, 3, D).

    Works in float32 where the map is half as precise: the normaliser sums over all cells.
    """
    qkv = qkv_bchw.permute(0, 2, 3, 1).flatten(1, 2).unflatten(2, (-1, 3, HEAD))
    dtype = qkv.dtype
    if dtype != torch.float64:
        qkv = qkv.float()
    q_bngd, k_bngd, v_bngd = qkv.unbind(3)
    q, k, v = F.relu(q_bngd).transpose(1, 2), F.relu(k_bngd).transpose(1, 2), v_bngd.transpose(1, 2)
    read = q @ (k.transpose(2, 3) @ v)
    weight = q @ k.sum(2)[..., None]
    return (read / (weight + 1e-15)).transpose(1, 2).flatten(2).to(dtype)


class AttentionBlock(nn.Module):
    """Linear attention, then an inverted block."""

    def __init__(self, channels: int, expansion: int, neighbourhood: int) -> None:
        super().__init__()
        self.context_module = LinearAttention(channels, neighbourhood)
        self.local_module = InvertedBlock(channels, channels, expansion)

    def forward(self, x_bchw: Tensor) -> Tensor:
        out: Tensor = self.local_module(self.context_module(x_bchw))
        return out


class StageFusion(nn.Module):
    """The sum of three stages at the grid of the finest of them, some blocks, and a norm over channels."""

    def __init__(self, in_channels: Sequence[int], depth: int, expansion: int) -> None:
        super().__init__()
        width = FUSED_CHANNELS
        # The official order of the stages, and so of their weights, is coarse to fine.
        self.inputs = nn.ModuleList(ConvLayer(channels, width, 1) for channels in reversed(in_channels))
        self.middle = nn.Sequential(*(FusedBlock(width, width, expansion) for _ in range(depth)))
        self.output = ConvLayer(width, width, 1, normed=False)
        self.norm = LayerNorm2d(width, EPS)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """B x 256 x H x W of three maps, fine to coarse; the finest is H x W."""
        size_hw = maps[0].shape[2:]
        coarse, middle, fine = (layer(x) for layer, x in zip(self.inputs, reversed(maps), strict=True))
        x = fine + _enlarged(middle, size_hw) + _enlarged(coarse, size_hw)
        out: Tensor = self.norm(self.output(self.middle(x)))
        return out


def _enlarged(x_bchw: Tensor, size_hw: Sequence[int]) -> Tensor:
    return F.interpolate(x_bchw.float(), tuple(size_hw), mode="bicubic").to(x_bchw.dtype)


class EfficientViTSettings(Strict):
    """Settings of an `EfficientViT` in a YAML; see its arguments."""

    variant: str = "l0"
    mode: Literal["pyramid", "single-scale"] = "pyramid"


class EfficientViT(nn.Module):
    """The EfficientViT encoder: images to the features of its stages, or to one map that fuses three of them.

    Args:
        variant: a name in `VARIANTS`, or a configuration.
        mode: 'pyramid' gives the stages at strides 4, 8, 16 and 32. 'single-scale' is the whole encoder of
            EfficientViT-SAM: one map of 256 channels at stride 8 (l0 to l2) or 16 (xl0, xl1), whose norm
            stands for the neck's.
    """

    @classmethod
    def of(cls, settings: EfficientViTSettings) -> EfficientViT:
        """An `EfficientViT` with these settings.

        Raises:
            ConfigError: no such variant.
        """
        if settings.variant not in VARIANTS:
            raise ConfigError(unknown("EfficientViT", settings.variant, VARIANTS))
        return cls(settings.variant, settings.mode)

    def __init__(
        self,
        variant: str | EfficientViTConfig = "l0",
        mode: Literal["pyramid", "single-scale"] = "pyramid",
    ) -> None:
        super().__init__()
        config = VARIANTS[variant] if isinstance(variant, str) else variant
        self.mode: Literal["pyramid", "single-scale"] = mode
        is_pyramid = mode == "pyramid"
        # A fifth halving, to stride 64, serves the fusion alone.
        num_stages = 5 if is_pyramid else len(config.channels)
        self.stages = nn.ModuleList(_stage(config, index) for index in range(num_stages))
        self._first_kept = 1 if is_pyramid else num_stages - 3
        kept = config.channels[self._first_kept : num_stages]
        strides = tuple(2 ** (stage + 1) for stage in range(self._first_kept, num_stages))
        self.fusion: StageFusion | None = None
        self.channels: tuple[int, ...] = kept
        """Channels of the returned maps, fine to coarse."""
        self.strides: tuple[int, ...] = strides
        """Their strides in pixels of the image."""
        if not is_pyramid:
            self.fusion = StageFusion(kept, config.fusion_depth, config.fusion_expansion)
            self.channels, self.strides = (FUSED_CHANNELS,), strides[:1]

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse: B x channels[i] x S / strides[i] x S / strides[i]."""
        # Depthwise and pointwise convolutions run faster on channels-last maps, on the CPU too.
        x_bchw = images_b3ss.contiguous(memory_format=torch.channels_last)
        maps = []
        for stage in self.stages:
            x_bchw = stage(x_bchw)
            maps.append(x_bchw)
        kept = maps[self._first_kept :]
        return kept if self.fusion is None else [self.fusion(kept)]

    @torch.no_grad()
    def fuse(self) -> EfficientViT:
        """A copy for inference: every batch norm folded into its convolution, activations in the same pass.

        The copy cannot be trained further, and its state dict has other names; load weights before fusing.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        _fuse_children(fused)
        return fused


def _stage(config: EfficientViTConfig, index: int) -> nn.Sequential:
    channels, kind, expansion = config.channels[index], config.kinds[index], config.expansions[index]
    if index == 0:
        down: nn.Module = ConvLayer(3, channels, 3, 2, activation="gelu-tanh")
    else:
        block = FusedBlock if kind == "fused" else InvertedBlock
        down = block(config.channels[index - 1], channels, 4 * expansion, 2)
    return nn.Sequential(down, *(_block(config, index) for _ in range(config.depths[index])))


def _block(config: EfficientViTConfig, index: int) -> nn.Module:
    channels, expansion = config.channels[index], config.expansions[index]
    match config.kinds[index]:
        case "residual":
            return ResidualBlock(channels)
        case "fused":
            return FusedBlock(channels, channels, expansion)
        case "inverted":
            return InvertedBlock(channels, channels, expansion)
        case "attention":
            return AttentionBlock(channels, expansion, config.neighbourhood)


def _fuse_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, ConvLayer):
            setattr(module, name, child.fused())
        elif isinstance(child, nn.Conv2d):
            setattr(module, name, folded(child))
        else:
            _fuse_children(child)
