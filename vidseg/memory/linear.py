"""A linear layer that goes to oneDNN on the CPU, with its activation in the same pass over memory.

PyTorch sends float32 products to MKL, which writes the bias first and runs at two thirds of oneDNN's rate on
processors that are not Intel's; the activation then reads and writes everything once more.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.memory.cpu_kernels import cpu_kernels_serve

Activation = Literal["none", "relu", "relu6", "gelu", "gelu-tanh"]
"""'gelu-tanh' is the approximation of a GELU by a hyperbolic tangent."""

ONEDNN_NAMES: dict[Activation, tuple[str, list[float], str]] = {
    "none": ("none", [], ""),
    "relu": ("relu", [], ""),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
    "gelu": ("gelu", [], "none"),
    "gelu-tanh": ("gelu", [], "tanh"),
}
"""oneDNN's names of activations, as PyTorch's fused operators take them: function, bounds and algorithm."""


def activated(x: Tensor, activation: Activation) -> Tensor:
    """The activation of each value."""
    if activation == "relu":
        return F.relu(x)
    if activation == "relu6":
        return F.relu6(x)
    if activation == "none":
        return x
    return F.gelu(x, approximate="tanh" if activation == "gelu-tanh" else "none")


def has_onednn_product(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of this type on this processor: bfloat16 needs AVX-512."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def product(x: Tensor, weight: Tensor) -> Tensor:
    """`F.linear` without a bias."""
    if cpu_kernels_serve(x) and x.dtype == weight.dtype and has_onednn_product(x.dtype):
        # With other strides oneDNN may take a thousand times as long.
        operands = x.contiguous(), weight.contiguous()
        return torch.ops.mkldnn._linear_pointwise(*operands, None, *ONEDNN_NAMES["none"])
    return F.linear(x, weight)


class Linear(nn.Linear):
    """`nn.Linear` followed by an activation. Parameters have the same names, so checkpoints fit both."""

    def __init__(self, in_features: int, out_features: int, activation: Activation = "none") -> None:
        super().__init__(in_features, out_features)
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        if cpu_kernels_serve(x) and x.dtype == self.weight.dtype and has_onednn_product(x.dtype):
            function = ONEDNN_NAMES[self.activation]
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *function)
        return activated(super().forward(x), self.activation)
