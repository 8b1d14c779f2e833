"""Calls of a part of a model, by itself: what it takes, what it gives, and how far two answers are apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vidseg.memory.cpu_kernels import without_cpu_kernels
from vidseg.training.distil.losses import feature_distance

Call = tuple[Any, ...]
"""The arguments of one call of a part."""


def outputs_of(part: nn.Module, call: Call) -> list[Tensor]:
    """The maps that a part makes."""
    out = part(*call)
    return [out] if isinstance(out, Tensor) else list(out)


@torch.no_grad()
def told_by(teacher: nn.Module, call: Call) -> list[Tensor]:
    """What a teacher gives, computed as with gradients: in one piece, so that hooks see whole maps."""
    with without_cpu_kernels():
        return outputs_of(teacher, call)


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Mean squared difference, averaged over maps."""
    return torch.stack([feature_distance(a, b) for a, b in zip(ours, theirs, strict=True)]).mean()


@contextmanager
def caught(part: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of modules in the block's last run."""
    outputs: dict[str, Tensor] = {}

    def catch(name: str) -> Callable[..., None]:
        return lambda module, given, out: outputs.update({name: out})

    hooks = [part.get_submodule(name).register_forward_hook(catch(name)) for name in names]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
