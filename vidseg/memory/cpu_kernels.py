"""When computations written for the CPU are used in place of PyTorch's own."""

from __future__ import annotations

import torch
from torch import Tensor


def cpu_kernels_serve(x: Tensor) -> bool:
    """Whether they can be used: `x` is on the CPU, no gradient is wanted, and nothing is being compiled."""
    return x.device.type == "cpu" and not (torch.is_grad_enabled() or torch.compiler.is_compiling())
