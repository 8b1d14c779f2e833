"""A small residual network of plain 3x3 convolutions: few layers, each dense enough to keep a CPU busy.

Source: He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), the basic block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vidseg.memory.linear import Activation, activated
from vidseg.trackers.backbones.conv_norm import Pointwise, folded
from vidseg.validation import Strict


class FoldingConvNorm(nn.Module):
    """A convolution that divides the grid by its stride, its batch norm and an activation, which `fuse` folds
    into one."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        eps: float = 1e-5,
        activation: Activation = "none",
    ) -> None:
        super().__init__()
        self.conv: nn.Module = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(c_out, eps=eps)
        self.activation: Activation = activation

    def forward(self, x_bchw: Tensor) -> Tensor:
        if isinstance(self.conv, Pointwise) and torch.compiler.is_compiling():
            # Runtimes of exported graphs keep channels first, and would turn maps around before and after
            # each product over the last axis. In graphs of float16 sums that come here are of float32.
            kernel = self.conv.weight[:, :, None, None]
            return activated(F.conv2d(x_bchw.to(kernel.dtype), kernel, self.conv.bias), self.conv.activation)
        return activated(self.norm(self.conv(x_bchw)), self.activation)

    def fuse(self) -> None:
        """Fold the norm and the activation into the convolution."""
        if isinstance(self.conv, nn.Conv2d) and isinstance(self.norm, nn.BatchNorm2d):
            self.conv = folded(self.conv, self.norm, self.activation)
            self.norm, self.activation = nn.Identity(), "none"


class ConvNorm(FoldingConvNorm):
    """A 3x3 convolution that begins with He's random weights, and its batch norm."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, stride)
        weight = self.conv.weight
        assert isinstance(weight, Tensor)
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")


class ResidualBlock(nn.Module):
    """The basic block of a residual network: two 3x3 convolutions, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, x_bchw: Tensor) -> Tensor:
        return F.relu(x_bchw + self.second(F.relu(self.first(x_bchw))))


class ResidualSettings(Strict):
    """Settings of a `Residual` in a YAML; see its arguments."""

    stem: int = Field(ge=8)
    widths: list[int] = Field(min_length=4, max_length=4)
    blocks: list[int] = Field(min_length=4, max_length=4)


class Residual(nn.Module):
    """A residual encoder: images to maps at strides 4, 8, 16 and 32.

    See `vidseg.trackers.image_encoder.Backbone`.

    Args:
        stem: channels at stride 2.
        widths: channels of the four maps, fine to coarse.
        blocks: number of residual blocks in each of the four stages.
    """

    mode: Literal["pyramid", "single-scale"] = "pyramid"
    strides = (4, 8, 16, 32)

    def __init__(self, *, stem: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.stem = ConvNorm(3, stem, stride=2)
        self.stages = nn.ModuleList()
        before = stem
        for width, count in zip(widths, blocks, strict=True):
            down = nn.Sequential(ConvNorm(before, width, stride=2), nn.ReLU())
            self.stages.append(nn.Sequential(down, *(ResidualBlock(width) for _ in range(count))))
            before = width

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        x = F.relu(self.stem(images_b3ss))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def fuse(self) -> Residual:
        """The network with norms folded into their convolutions, as it is used in tracking."""
        for module in list(self.modules()):
            if isinstance(module, ConvNorm):
                module.fuse()
        return self
