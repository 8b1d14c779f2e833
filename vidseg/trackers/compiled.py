"""Compiles modules in place, for `load(..., compile=True)`: fused kernels, replayed as CUDA graphs on a GPU.

A replay overwrites the results of the previous one, and banks keep results for many frames. So every result
of a compiled module is copied at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn


def compile_in_place(module: nn.Module, *, dynamic: bool | None = None) -> None:
    """Compile `module.forward`, which returns a tensor, or a list or dataclass of tensors; weights keep their
    names.

    Args:
        dynamic: whether sizes differ from call to call; None: torch assumes it once it has seen them differ.
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
