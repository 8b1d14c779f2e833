"""When computations written for the CPU are used in place of PyTorch's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_are_off = False


def cpu_kernels_serve(x: Tensor) -> bool:
    """Whether they can be used: `x` is on the CPU, no gradient is wanted, and nothing is being compiled."""
    is_plain = _are_off or torch.is_grad_enabled() or torch.compiler.is_compiling()
    return x.device.type == "cpu" and not is_plain


@contextmanager
def without_cpu_kernels() -> Iterator[None]:
    """PyTorch's own computations alone while the block runs, in all threads; its counter knows these only."""
    global _are_off
    before, _are_off = _are_off, True
    try:
        yield
    finally:
        _are_off = before
