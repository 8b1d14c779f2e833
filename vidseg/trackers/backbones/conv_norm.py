"""A convolution with a batch norm after it, and what the two fold into for inference.

Folding happens in float64 and rounds once, so a folded layer equals the pair to float32's rounding. Source:
Ioffe and Szegedy, "Batch Normalization" (arXiv:1502.03167): at inference a norm is linear.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidseg.memory.linear import Activation, Linear


class ConvNorm(nn.Sequential):
    """A convolution without bias, then batch norm."""

    c: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.add_module("c", conv)
        self.add_module("bn", nn.BatchNorm2d(out_channels))

    def fused(self) -> nn.Conv2d | Pointwise:
        """A single layer with bias that computes the same in evaluation mode."""
        if self.c.kernel_size == (1, 1):
            return Pointwise.of(self)
        return conv_like(self.c, *self.folded())

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of that layer, float64."""
        return fold_norm(exact(self.c.weight), None, self.bn)


class Pointwise(Linear):
    """A 1x1 convolution as a linear layer on each position, with its activation in the same pass.

    PyTorch's own 1x1 convolution copies float32 maps that have their channels last.
    """

    @classmethod
    def of(cls, layer: ConvNorm, activation: Activation = "none") -> Pointwise:
        """A layer that computes what `layer` does in evaluation mode, and then `activation`."""
        kernel, bias = layer.folded()
        out = cls(layer.c.in_channels, layer.c.out_channels, activation).to(layer.c.weight)
        out.weight.copy_(kernel[:, :, 0, 0])
        out.bias.copy_(bias)
        return out.requires_grad_(False)

    def forward(self, x_bchw: Tensor) -> Tensor:
        return super().forward(x_bchw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def fold_norm(kernel: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias, float64, of a convolution followed by `norm` in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = exact(norm.weight) / torch.sqrt(exact(norm.running_var) + norm.eps)
    shift = (0.0 if bias is None else bias) - exact(norm.running_mean)
    return kernel * scale[:, None, None, None], exact(norm.bias) + shift * scale


def exact(weight: Tensor) -> Tensor:
    """The weight in float64, on the CPU, as not every accelerator has that type."""
    return weight.detach().cpu().double()


def conv_like(conv: nn.Conv2d, kernel: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution with the geometry, dtype and device of `conv`, and these weights."""
    out = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        _pair(conv.kernel_size),
        _pair(conv.stride),
        _pair(conv.padding),
        groups=conv.groups,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    out.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    out.weight.copy_(kernel)
    assert out.bias is not None
    out.bias.copy_(bias)
    return out.requires_grad_(False)


def _pair(size: Sequence[int] | str) -> tuple[int, int]:
    assert not isinstance(size, str)
    return size[0], size[1]
