"""Caches for tensors that depend on sizes alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")


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
            return tensor

        return get

    return decorate
