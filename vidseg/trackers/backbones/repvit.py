"""RepViT: a convolutional network whose training-time branches fold into single convolutions.

A block mixes space, then channels: a 3x3 depthwise convolution, a 1x1 depthwise one and the identity are
summed (and optionally squeezed and excited), then two pointwise convolutions with a GELU between them work
on each position. The three branches and their norms are linear: `RepViT.fuse` makes them one convolution.

Source: Wang et al., "RepViT: Revisiting Mobile CNN From ViT Perspective", CVPR 2024, and its code
(github.com/THU-MIG/RepViT). EdgeTAM's image encoder is the variant `m1` in timm's layout (`body.stem`,
`body.stages_0`, ...), whose names are kept here, so that its published weights load unchanged.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidseg.errors import ConfigError, unknown
from vidseg.trackers.backbones.conv_norm import ConvNorm, Folded, exact, fold_norm, layer_with
from vidseg.validation import Strict

NormLayout = Literal["branches", "sum"]


@dataclass(frozen=True)
class RepViTConfig:
    """The shape of a RepViT; it has four stages, fine to coarse."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    """Number of blocks in each stage, without the transition into it."""
    norm_layout: NormLayout = "sum"
    """Where a token mixer normalises: 'branches' (each of the two convolutions; the first release) or 'sum'
    (the 3x3 branch, and the sum of all three; the second release and RepViT-SAM)."""
    transition_strides: tuple[int, ...] = (2, 2, 2)
    """Strides of the transitions into stages 1, 2 and 3; RepViT-SAM's last one is 1."""


VARIANTS: dict[str, RepViTConfig] = {
    "m1": RepViTConfig((48, 96, 192, 384), (2, 2, 14, 2), norm_layout="branches"),
    "m2": RepViTConfig((64, 128, 256, 512), (2, 2, 12, 2), norm_layout="branches"),
    "m3": RepViTConfig((64, 128, 256, 512), (4, 4, 18, 2), norm_layout="branches"),
    "m0.6": RepViTConfig((40, 80, 160, 320), (1, 1, 8, 1)),
    "m0.9": RepViTConfig((48, 96, 192, 384), (2, 2, 14, 2)),
    "m1.0": RepViTConfig((56, 112, 224, 448), (2, 2, 14, 2)),
    "m1.1": RepViTConfig((64, 128, 256, 512), (2, 2, 12, 2)),
    "m1.5": RepViTConfig((64, 128, 256, 512), (4, 4, 24, 4)),
    "m2.3": RepViTConfig((80, 160, 320, 640), (6, 6, 34, 2)),
    "sam": RepViTConfig((80, 160, 320, 640), (6, 6, 34, 2), transition_strides=(2, 2, 1)),
}


class TokenMixer(nn.Module):
    """The sum of a 3x3 depthwise convolution, a 1x1 depthwise convolution and the identity."""

    def __init__(self, channels: int, norm_layout: NormLayout) -> None:
        super().__init__()
        self.conv = ConvNorm(channels, channels, 3, groups=channels)
        self.conv1: ConvNorm | nn.Conv2d
        self.bn: nn.BatchNorm2d | nn.Identity
        if norm_layout == "branches":
            self.conv1 = ConvNorm(channels, channels, 1, groups=channels)
            self.bn = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(channels, channels, 1, groups=channels)
            self.bn = nn.BatchNorm2d(channels)

    def forward(self, x_bchw: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x_bchw) + self.conv1(x_bchw) + x_bchw)
        return out

    def fused(self) -> Folded:
        """A single 3x3 depthwise convolution with bias that computes the same in evaluation mode."""
        kernel, bias = fold_norm(exact(self.conv.c.weight), None, self.conv.bn)
        if isinstance(self.conv1, ConvNorm):
            point, point_bias = fold_norm(exact(self.conv1.c.weight), None, self.conv1.bn)
        else:
            assert self.conv1.bias is not None
            point, point_bias = exact(self.conv1.weight), exact(self.conv1.bias)
        # The 1x1 branch and the identity only add to the middle of the 3x3 kernel.
        kernel = kernel + F.pad(point + 1.0, (1, 1, 1, 1))
        bias = bias + point_bias
        if isinstance(self.bn, nn.BatchNorm2d):
            kernel, bias = fold_norm(kernel, bias, self.bn)
        return layer_with(kernel, bias, self.conv.c)


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the means of all channels (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # A quarter of the width, rounded to a multiple of 8: 48 -> 16, 96 -> 24.
        squeezed = max(8, (channels // 4 + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x_bchw: Tensor) -> Tensor:
        means = x_bchw.mean((2, 3), keepdim=True)
        return x_bchw * self.fc2(F.relu(self.fc1(means))).sigmoid()


class ChannelMixer(nn.Module):
    """Two pointwise convolutions with a GELU between them, twice as wide inside; their input is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1: ConvNorm | Folded = ConvNorm(channels, 2 * channels, 1)
        self.activation: nn.Module = nn.GELU()
        self.conv2: ConvNorm | Folded = ConvNorm(2 * channels, channels, 1)

    def forward(self, x_bchw: Tensor) -> Tensor:
        out: Tensor = x_bchw + self.conv2(self.activation(self.conv1(x_bchw)))
        return out

    def fuse(self) -> None:
        """Turn each convolution into a linear layer; the first one also applies the GELU."""
        assert isinstance(self.conv1, ConvNorm)
        assert isinstance(self.conv2, ConvNorm)
        self.conv1, self.conv2 = self.conv1.fused("gelu"), self.conv2.fused()
        self.activation = nn.Identity()


class RepViTBlock(nn.Module):
    """Mixes tokens, optionally squeezes and excites, mixes channels; size and width stay the same."""

    def __init__(self, channels: int, norm_layout: NormLayout, *, use_se: bool) -> None:
        super().__init__()
        self.token_mixer = TokenMixer(channels, norm_layout)
        self.se = SqueezeExcite(channels) if use_se else nn.Identity()
        self.channel_mixer = ChannelMixer(channels)

    def forward(self, x_bchw: Tensor) -> Tensor:
        out: Tensor = self.channel_mixer(self.se(self.token_mixer(x_bchw)))
        return out


class Transition(nn.Module):
    """The way into the next stage: a block, a strided depthwise convolution, a pointwise one, a channel
    mixer."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm_layout: NormLayout) -> None:
        super().__init__()
        self.pre_block = RepViTBlock(in_channels, norm_layout, use_se=False)
        self.spatial_downsample = ConvNorm(in_channels, in_channels, 3, stride, groups=in_channels)
        self.channel_downsample = ConvNorm(in_channels, out_channels, 1)
        self.ffn = ChannelMixer(out_channels)

    def forward(self, x_bchw: Tensor) -> Tensor:
        return self.cross(self.pre_block(x_bchw))

    def cross(self, x_bchw: Tensor) -> Tensor:
        """What follows the block of the finer stage's size and width."""
        out: Tensor = self.ffn(self.channel_downsample(self.spatial_downsample(x_bchw)))
        return out


class Stem(nn.Module):
    """Two strided 3x3 convolutions with a GELU between them: an image to a map at stride 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, channels // 2, 3, stride=2)
        self.conv2 = ConvNorm(channels // 2, channels, 3, stride=2)

    def forward(self, images_b3hw: Tensor) -> Tensor:
        x_bhwc = self.conv1(images_b3hw).permute(0, 2, 3, 1)
        # PyTorch's GELU is five times slower on a channels-last map unless the axes are permuted.
        out: Tensor = self.conv2(F.gelu(x_bhwc).permute(0, 3, 1, 2))
        return out


class RepViTStage(nn.Module):
    """Blocks of one width; the first and every second after it squeeze and excite."""

    def __init__(self, channels: int, depth: int, norm_layout: NormLayout, transition: nn.Module) -> None:
        super().__init__()
        self.downsample = transition
        self.blocks = nn.Sequential(
            *(RepViTBlock(channels, norm_layout, use_se=index % 2 == 0) for index in range(depth))
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.downsample(x_bchw))
        return out


class RepViTSettings(Strict):
    """Settings of a `RepViT` in a YAML; see its arguments."""

    variant: str = "m1"
    mode: Literal["pyramid", "single-scale"] = "pyramid"


class RepViT(nn.Module):
    """The RepViT encoder: images to the features of its stages.

    Args:
        variant: a name in `VARIANTS`, or a configuration.
        mode: 'pyramid' gives all four stages (strides 4, 8, 16, 32), as EdgeTAM takes them; 'single-scale'
            the coarsest alone, as encoders of the first SAM do.
    """

    @classmethod
    def of(cls, settings: RepViTSettings) -> RepViT:
        """A `RepViT` with these settings.

        Raises:
            ConfigError: no such variant.
        """
        if settings.variant not in VARIANTS:
            raise ConfigError(unknown("RepViT", settings.variant, VARIANTS))
        return cls(settings.variant, settings.mode)

    def __init__(
        self,
        variant: str | RepViTConfig = "m1",
        mode: Literal["pyramid", "single-scale"] = "pyramid",
    ) -> None:
        super().__init__()
        config = VARIANTS[variant] if isinstance(variant, str) else variant
        self.mode: Literal["pyramid", "single-scale"] = mode
        transitions: list[nn.Module] = [nn.Identity()]
        strides = [4]
        """Strides of the returned maps, in pixels of the image."""
        for (before, after), stride in zip(
            itertools.pairwise(config.channels), config.transition_strides, strict=True
        ):
            transitions.append(Transition(before, after, stride, config.norm_layout))
            strides.append(strides[-1] * stride)
        self.body = nn.ModuleDict({"stem": Stem(config.channels[0])})
        stages = zip(config.channels, config.depths, transitions, strict=True)
        for index, (channels, depth, transition) in enumerate(stages):
            self.body[f"stages_{index}"] = RepViTStage(channels, depth, config.norm_layout, transition)
        self._kept = slice(None) if mode == "pyramid" else slice(-1, None)
        self.channels: tuple[int, ...] = config.channels[self._kept]
        """Channels of the returned maps, fine to coarse."""
        self.strides: tuple[int, ...] = tuple(strides[self._kept])
        """Their strides in pixels of the image."""

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse: B x channels[i] x S / strides[i] x S / strides[i]."""
        # Depthwise and pointwise convolutions run faster on channels-last maps, on the CPU too.
        x_bchw = images_b3ss.contiguous(memory_format=torch.channels_last)
        stem, *stages = self.body.values()
        x_bchw = stem(x_bchw)
        features = []
        for stage in stages:
            x_bchw = stage(x_bchw)
            features.append(x_bchw)
        return features[self._kept]

    @torch.no_grad()
    def fuse(self) -> RepViT:
        """A copy for inference: every batch norm and every branch folded into its convolution.

        Folding happens in float64 and rounds once, so both agree to float32's rounding. The copy cannot be
        trained further, and its state dict has other names; load published weights before fusing.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        _fuse_children(fused)
        return fused


def _fuse_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, ChannelMixer):
            child.fuse()
        elif isinstance(child, ConvNorm | TokenMixer):
            setattr(module, name, child.fused())
        else:
            _fuse_children(child)
