"""A convolution with a batch norm after it, and what the two fold into for inference.

Folding happens in float64 and rounds once, so a folded layer equals the pair to float32's rounding. Source:
Ioffe and Szegedy, "Batch Normalization" (arXiv:1502.03167): at inference a norm is linear.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidseg.memory.cpu_kernels import cpu_kernels_serve
from vidseg.memory.linear import ONEDNN_NAMES, Activation, Linear, activated, has_onednn_product


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

    def fused(self, activation: Activation = "none") -> Folded:
        """A single layer with bias that computes the same in evaluation mode, and then `activation`."""
        return folded(self.c, self.bn, activation)


class Pointwise(Linear):
    """A 1x1 convolution as a linear layer on each position, with its activation in the same pass.

    PyTorch's own 1x1 convolution copies float32 maps that have their channels last.
    """

    @classmethod
    def of(cls, layer: ConvNorm, activation: Activation = "none") -> Pointwise:
        """A layer that computes what `layer`, a 1x1 convolution, does in evaluation mode, and then
        `activation`."""
        out = layer.fused(activation)
        assert isinstance(out, cls)
        return out

    def forward(self, x_bchw: Tensor) -> Tensor:
        return super().forward(x_bchw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ActivatedConv(nn.Conv2d):
    """A convolution with bias, whose activation runs in the same pass over memory on the CPU.

    Args:
        like: a convolution with the same geometry, dtype and device.
    """

    def __init__(self, like: nn.Conv2d, activation: Activation) -> None:
        super().__init__(
            like.in_channels,
            like.out_channels,
            _pair(like.kernel_size),
            _pair(like.stride),
            _pair(like.padding),
            groups=like.groups,
            device=like.weight.device,
            dtype=like.weight.dtype,
        )
        self.activation: Activation = activation
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it

    def forward(self, x_bchw: Tensor) -> Tensor:
        if self.activation == "none":
            return super().forward(x_bchw)
        if not (cpu_kernels_serve(x_bchw) and has_onednn_product(x_bchw.dtype)):
            # PyTorch's GELU is five times slower on a channels-last map unless the axes are permuted.
            out_bhwc = super().forward(x_bchw).permute(0, 2, 3, 1)
            return activated(out_bhwc, self.activation).permute(0, 3, 1, 2)
        geometry = (self.padding, self.stride, self.dilation, self.groups)
        return torch.ops.mkldnn._convolution_pointwise(
            x_bchw, self.weight, self.bias, *geometry, *ONEDNN_NAMES[self.activation]
        )


Folded = Pointwise | ActivatedConv


@torch.no_grad()
def folded(conv: nn.Conv2d, norm: nn.Module | None = None, activation: Activation = "none") -> Folded:
    """A layer that computes `conv`, the batch norm `norm` in evaluation mode, and the activation."""
    kernel, bias = exact(conv.weight), None if conv.bias is None else exact(conv.bias)
    if isinstance(norm, nn.BatchNorm2d):
        kernel, bias = fold_norm(kernel, bias, norm)
    return layer_with(kernel, bias, conv, activation)


def layer_with(
    kernel: Tensor, bias: Tensor | None, like: nn.Conv2d, activation: Activation = "none"
) -> Folded:
    """A layer with the geometry, dtype and device of `like`, and these weights."""
    layer: Folded
    if like.kernel_size == (1, 1) and like.stride == (1, 1) and like.groups == 1:
        layer = Pointwise(like.in_channels, like.out_channels, activation).to(like.weight)
        layer.weight.copy_(kernel[:, :, 0, 0])
    else:
        layer = ActivatedConv(like, activation)
        layer.weight.copy_(kernel)
    assert layer.bias is not None
    layer.bias.copy_(torch.zeros_like(layer.bias) if bias is None else bias)
    return layer.requires_grad_(False)


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


def _pair(size: Sequence[int] | str) -> tuple[int, int]:
    assert not isinstance(size, str)
    return size[0], size[1]
