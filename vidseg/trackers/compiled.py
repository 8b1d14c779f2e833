"""Modules compiled in place, for `load(..., compile=True)`: fused kernels, replayed as CUDA graphs on a GPU.

A replay writes its results where the one before did, and banks keep them for many frames: what a compiled
module gives is copied out at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn


def compile_in_place(module: nn.Module, *, dynamic: bool | None = None) -> None:
    """Compile `module.forward`, which gives a tensor, a list or a dataclass of them; names of weights stay.

    Args:
        dynamic: whether sizes differ from call to call; None: once they were seen to.
    """
    on_gpu = next(module.parameters()).device.type == "cuda"
    run: Callable[..., Any] = torch.compile(
        module.forward, fullgraph=True, dynamic=dynamic, mode="reduce-overhead" if on_gpu else None
    )

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not on_gpu:
            return run(*args, **kwargs)
        torch.compiler.cudagraph_mark_step_begin()
        return _copied(run(*args, **kwargs))

    module.forward = forward


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return replace(value, **{field.name: _copied(getattr(value, field.name)) for field in fields(value)})
