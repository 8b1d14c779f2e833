"""Kernels in Triton in place of PyTorch's own operations, for models that were told to use them.

`vidseg.memory.attention.use_kernels` tells them. The kernels are imported where they are called, as Triton is
installed with PyTorch for GPUs alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory.rope import rotate

ReadBy = Literal["any", "flash", "efficient", "narrow"]
"""How memory is read: by the kernel of attention that PyTorch chooses ('any': cuDNN's on Hopper, else mostly
FlashAttention), by another of PyTorch's, or by `read_by_kernel`, which averages narrow tokens before they are
projected to values."""

FUSED: dict[ReadBy, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "any": F.scaled_dot_product_attention,
    "flash": lambda q, k, v: torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0],
    "efficient": lambda q, k, v: torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, False)[
        0
    ],
}
"""PyTorch's kernels. They are called by name, as its own switch between them is one for all threads."""


def turn_first(x_bmc: Tensor, rotation: Tensor, num_turned: int, *, by_kernel: bool) -> Tensor:
    """Turn the channel pairs of the first tokens by the rotation of their cell; the others stay: B x M x C.

    Args:
        rotation: of `axial_rotation`; token i lies in cell i modulo the number of cells.
        by_kernel: whether to use one kernel, if it takes these tokens.
    """
    channels = x_bmc.shape[-1]
    if by_kernel and _can_use(x_bmc) and x_bmc.stride(-1) == 1 and channels & (channels - 1) == 0:
        from vidseg.memory.triton_kernels import turn

        return turn(x_bmc, rotation, num_turned)
    frames = x_bmc[:, :num_turned].unflatten(1, (-1, rotation.shape[0]))
    return torch.cat((rotate(frames, rotation).flatten(1, 2), x_bmc[:, num_turned:]), dim=1)


def has_read_kernel(q_bnc: Tensor) -> bool:
    """Whether `read_by_kernel` takes these queries."""
    return q_bnc.dtype in (torch.bfloat16, torch.float16) and _can_use(q_bnc)


def read_by_kernel(
    q_bnc: Tensor, k_bmc: Tensor, tokens_bmd: Tensor, log2_weights_m: Tensor | None = None
) -> Tensor:
    """`vidseg.memory.triton_kernels.read`."""
    from vidseg.memory.triton_kernels import read

    return read(q_bnc, k_bmc, tokens_bmd, log2_weights_m)


def _can_use(x: Tensor) -> bool:
    return x.is_cuda and not torch.is_grad_enabled()


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Whether Triton is installed and builds kernels here, which takes a C compiler; a warning if not."""
    try:
        from vidseg.memory.triton_kernels import turn

        turn(torch.zeros(1, 1, 16, device="cuda"), torch.zeros(1, 8, 2, device="cuda"), 1)
    except Exception as error:  # Triton's errors have no common class
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(
            f"Triton builds no kernels here, so PyTorch's own are used: {reason[0]}",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True
