"""Where ways of computing that are made for the CPU serve."""

from __future__ import annotations

import torch
from torch import Tensor


def cpu_kernels_serve(x: Tensor) -> bool:
    """On the CPU, with no gradient wanted, and not while it is compiled."""
    return x.device.type == "cpu" and not (torch.is_grad_enabled() or torch.compiler.is_compiling())
