"""Caches for tensors that depend on sizes alone, or on another tensor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Arguments = ParamSpec("Arguments")

_users = threading.local()


def cached(maxsize: int) -> Callable[[Callable[Arguments, Tensor]], Callable[Arguments, Tensor]]:
    """Keep the last `maxsize` tensors that a function made; nobody may write to them.

    Tensors that a compiler traces stand for its graph alone, so nothing is kept then.
    """

    def decorate(make: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
        # Kept tensors may be used in training later, which those of inference mode may not.
        keep: Any = lru_cache(maxsize)(torch.inference_mode(False)(make))

        @wraps(make)
        def get(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
            if torch.compiler.is_compiling():
                return make(*args, **kwargs)
            tensor: Tensor = keep(*args, **kwargs)
            note_use(tensor)
            return tensor

        return get

    return decorate


def kept_with_its_source(make: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Make a tensor of another one once, and keep it while that one lives. Nobody may write to either."""
    made = WeakTensorKeyDictionary()

    @wraps(make)
    def get(source: Tensor) -> Tensor:
        tensor: Tensor | None = made.get(source)
        if tensor is None:
            tensor = made[source] = make(source)
        return tensor

    return get


@contextmanager
def kept_alive() -> Iterator[list[Tensor]]:
    """Collects the cached tensors that this thread uses: a recorded graph reads them where they lie, also
    when the cache has dropped them."""
    before = getattr(_users, "tensors", None)
    tensors: list[Tensor] = []
    _users.tensors = tensors
    try:
        yield tensors
    finally:
        _users.tensors = before


def note_use(tensor: Tensor) -> None:
    """Tell `kept_alive` that a cached tensor is used."""
    tensors = getattr(_users, "tensors", None)
    if tensors is not None:
        tensors.append(tensor)


@cached(maxsize=256)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers as a tensor: 1-D, float32, or int64 if all are integers. On a GPU they are uploaded once."""
    return torch.tensor(values, device=device)
