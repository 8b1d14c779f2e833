"""ResNet-18, -34 and -50; and NanoSAM's encoder, which raises a ResNet's coarsest map to stride 16.

Sources: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (in ResNet-50 the 3x3
convolution halves the map, as in torchvision and timm); NanoSAM (github.com/NVIDIA-AI-IOT/nanosam,
Apache-2.0; shapes and the order of layers were read there). Names of the ResNet's parameters are those of
torchvision and timm, so that their weights load unchanged.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.memory.linear import Activation
from vidseg.trackers.backbones.conv_norm import folded
from vidseg.validation import Strict

WIDTHS = (64, 128, 256, 512)
"""Channels inside the blocks of the four stages."""
RAISED_CHANNELS = 256
"""Channels of the map at stride 16, as SAM's heads take them."""
LEARNED_GRID = 64
"""Side of the grid on which NanoSAM's positions were learned (images of 1024 pixels)."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, added to their input, which is projected where shapes differ."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1: nn.Module = _conv(in_channels, width, 3, stride)
        self.bn1: nn.Module = nn.BatchNorm2d(width)
        self.act1: nn.Module = nn.ReLU()
        self.conv2: nn.Module = _conv(width, width, 3)
        self.bn2: nn.Module = nn.BatchNorm2d(width)
        self.downsample = _projection(in_channels, width, stride)

    def forward(self, x_bchw: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv1(x_bchw)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x_bchw))

    def fuse(self) -> None:
        """Fold norms, and the activation between the convolutions, into the convolutions."""
        _fold(self, "1", "relu")
        _fold(self, "2")
        self.downsample = _folded_projection(self.downsample)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, four times wider outside than inside; added to their input."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1: nn.Module = _conv(in_channels, width, 1)
        self.bn1: nn.Module = nn.BatchNorm2d(width)
        self.act1: nn.Module = nn.ReLU()
        self.conv2: nn.Module = _conv(width, width, 3, stride)
        self.bn2: nn.Module = nn.BatchNorm2d(width)
        self.act2: nn.Module = nn.ReLU()
        self.conv3: nn.Module = _conv(width, 4 * width, 1)
        self.bn3: nn.Module = nn.BatchNorm2d(4 * width)
        self.downsample = _projection(in_channels, 4 * width, stride)

    def forward(self, x_bchw: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv1(x_bchw)))
        out = self.act2(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x_bchw))

    def fuse(self) -> None:
        """Fold norms, and the activations between the convolutions, into the convolutions."""
        _fold(self, "1", "relu")
        _fold(self, "2", "relu")
        _fold(self, "3")
        self.downsample = _folded_projection(self.downsample)


class RaisedMap(nn.Module):
    """NanoSAM's neck: the map at stride 32 raised to stride 16, and a learned code of each position added."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        width = RAISED_CHANNELS
        self.pos_embedding = nn.Parameter(torch.empty(1, width, LEARNED_GRID, LEARNED_GRID))
        nn.init.trunc_normal_(self.pos_embedding, std=0.02)
        self.up_1 = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1),
            nn.GELU(),
        )
        self.proj = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        x_bchw = self.proj(self.up_1(x_bchw))
        positions: Tensor = self.pos_embedding
        if x_bchw.shape[2:] != positions.shape[2:]:
            positions = F.interpolate(positions, x_bchw.shape[2:], mode="bicubic", align_corners=False)
        return x_bchw + positions

    def fuse(self) -> None:
        """Apply activations in the pass of the convolution before them."""
        for layers in (self.up_1, self.proj):
            for index, layer in enumerate(layers):
                if isinstance(layer, nn.Conv2d):
                    is_last = index + 1 == len(layers)
                    layers[index] = folded(layer, None, "none" if is_last else "gelu")
                    if not is_last:
                        layers[index + 1] = nn.Identity()


class ResNetSettings(Strict):
    """Settings of a `ResNet` in a YAML; see its arguments."""

    variant: Literal["18", "34", "50"] = "18"
    mode: Literal["pyramid", "single-scale"] = "pyramid"


class ResNet(nn.Module):
    """A residual encoder.

    Args:
        variant: a name in `VARIANTS`.
        mode: 'pyramid' gives the four stages, at strides 4, 8, 16 and 32; 'single-scale' is NanoSAM's
            encoder: one map of 256 channels at stride 16.
    """

    def __init__(self, variant: str = "18", mode: Literal["pyramid", "single-scale"] = "pyramid") -> None:
        super().__init__()
        depths, block = VARIANTS[variant]
        self.mode: Literal["pyramid", "single-scale"] = mode
        self.conv1: nn.Module = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(WIDTHS[0])
        self.act1: nn.Module = nn.ReLU()
        before = WIDTHS[0]
        channels = []
        for number, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True), start=1):
            blocks = []
            for index in range(depth):
                blocks.append(block(before, width, 2 if number > 1 and index == 0 else 1))
                before = 4 * width if block is Bottleneck else width
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            channels.append(before)
        self.raised = RaisedMap(before) if mode == "single-scale" else None
        self.channels: tuple[int, ...] = (RAISED_CHANNELS,) if self.raised else tuple(channels)
        """Channels of the returned maps, fine to coarse."""
        self.strides: tuple[int, ...] = (16,) if self.raised else (4, 8, 16, 32)
        """Their strides in pixels of the image."""

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse: B x channels[i] x S / strides[i] x S / strides[i]."""
        x = images_b3ss.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(self.act1(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        maps = []
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
            maps.append(x)
        return maps if self.raised is None else [self.raised(x)]

    @torch.no_grad()
    def fuse(self) -> ResNet:
        """A copy for inference: every batch norm folded into its convolution, activations in the same pass.

        The copy cannot be trained further, and its state dict has other names; load weights before fusing.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        _fold(fused, "1", "relu")
        for module in fused.modules():
            if isinstance(module, BasicBlock | Bottleneck | RaisedMap):
                module.fuse()
        return fused


VARIANTS: dict[str, tuple[tuple[int, int, int, int], type[BasicBlock | Bottleneck]]] = {
    "18": ((2, 2, 2, 2), BasicBlock),
    "34": ((3, 4, 6, 3), BasicBlock),
    "50": ((3, 4, 6, 3), Bottleneck),
}
"""Name -> number of blocks in each stage, and their class."""


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(_conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


def _folded_projection(projection: nn.Module) -> nn.Module:
    if not isinstance(projection, nn.Sequential):
        return projection
    conv, norm = projection
    assert isinstance(conv, nn.Conv2d)
    return folded(conv, norm)


def _fold(module: nn.Module, number: str, activation: Activation = "none") -> None:
    """Fold `bn<number>` and, if there is an activation, `act<number>` into `conv<number>`."""
    conv = module.get_submodule(f"conv{number}")
    assert isinstance(conv, nn.Conv2d)
    module.set_submodule(f"conv{number}", folded(conv, module.get_submodule(f"bn{number}"), activation))
    module.set_submodule(f"bn{number}", nn.Identity())
    if activation != "none":
        module.set_submodule(f"act{number}", nn.Identity())
