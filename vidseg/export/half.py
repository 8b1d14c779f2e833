"""Rounds models to float16, but for the few numbers whose rounding costs most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from vidseg.memory.norm import LayerNorm2d
from vidseg.trackers.mlp import MLP
from vidseg.trackers.sam2.prompt_encoder import RandomFourierEncoding
from vidseg.trackers.sam2.two_way_transformer import TwoWayTransformer

NORMS = (nn.LayerNorm, LayerNorm2d, nn.GroupNorm, nn.BatchNorm2d)


def to_half(modules: Iterable[nn.Module]) -> None:
    """Have modules, which may share what is in them, compute in float16; they are changed in place.

    Norms, depthwise convolutions and transformers of mask decoders keep their weights and compute in float32,
    and so does the encoding of places, which gives float32 by itself: they hold few of a model's numbers, and
    all that follows depends on each of them. Autocast of PyTorch treats norms so, too. The perceptrons in
    those transformers, which hold two thirds of their weights, compute in float16.
    """
    every = nn.ModuleList(modules)
    exact = list(_outermost_exact(every))
    kept = [{key: value.clone() for key, value in module.state_dict().items()} for module in exact]
    every.half()
    for module, state in zip(exact, kept, strict=True):
        module.float().load_state_dict(state)
        if not isinstance(module, RandomFourierEncoding):
            _convert_around(module, torch.float32, outside=torch.float16)
        for perceptron in (part for part in module.modules() if isinstance(part, MLP)):
            _convert_around(perceptron.half(), torch.float16, outside=torch.float32)


def _outermost_exact(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if _stays_exact(child):
            yield child
        else:
            yield from _outermost_exact(child)


def _stays_exact(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups == module.in_channels > 1
    return isinstance(module, (*NORMS, RandomFourierEncoding, TwoWayTransformer))


def _convert_around(module: nn.Module, inside: torch.dtype, *, outside: torch.dtype) -> None:
    """Have a module be given tensors of one type, and what it gives be of another."""
    module.register_forward_pre_hook(lambda _, inputs: _to(inputs, inside))
    module.register_forward_hook(lambda _, inputs, output: _to(output, outside))


def _to(value: Any, dtype: torch.dtype) -> Any:
    return tuple(x.to(dtype) for x in value) if isinstance(value, tuple) else value.to(dtype)
