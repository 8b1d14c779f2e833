"""Has models compute in float16 where that is worth it, as PyTorch's autocast does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from vidseg.memory.norm import LayerNorm2d
from vidseg.trackers.mlp import MLP
from vidseg.trackers.sam2.two_way_transformer import TwoWayTransformer

PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.LayerNorm, LayerNorm2d, nn.GroupNorm, nn.BatchNorm2d)


def to_half(modules: Iterable[nn.Module]) -> None:
    """Have modules, which may share what is in them, compute products in float16; they are changed in place.

    Linear layers and convolutions keep their weights in float16, compute in it and give it, so that attention
    between them computes in it, too. All else stays in float32, as it holds few of a model's numbers while
    much depends on each: norms, depthwise convolutions, embeddings, the encoding of places, and what branches
    are added to, because a sum of both types is of float32. So do the transformers of mask decoders, but for
    their perceptrons, which hold two thirds of their weights. What a module gives is of float16.
    """
    every = nn.ModuleList(modules)
    exact = set(_exact(every))
    for module in every.modules():
        if module in exact:
            module.register_forward_pre_hook(lambda _, given: _to(given, torch.float32))
        elif isinstance(module, PRODUCTS):
            module.half().register_forward_pre_hook(lambda _, given: _to(given, torch.float16))
    for module in every:
        module.register_forward_hook(lambda _, given, result: _to(result, torch.float16))


def _exact(module: nn.Module) -> Iterator[nn.Module]:
    """The layers in a module that stay in float32."""
    if isinstance(module, TwoWayTransformer):
        perceptrons = [part for part in module.modules() if isinstance(part, MLP)]
        yield from set(module.modules()).difference(*(part.modules() for part in perceptrons))
    elif isinstance(module, NORMS) or _is_depthwise(module):
        yield module
    else:
        for child in module.children():
            yield from _exact(child)


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


def _to(values: tuple[Any, ...], dtype: torch.dtype) -> tuple[Any, ...]:
    """The values, with what is of floating point in another type."""
    return tuple(x.to(dtype) if torch.is_tensor(x) and x.is_floating_point() else x for x in values)
