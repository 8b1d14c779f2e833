"""The parts of a model that are exported, each as a module of tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

OBJECTS, FRAMES, POINTERS, POINTS, PICTURES = "objects", "frames", "pointers", "points", "pictures"
"""Names of free sizes."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A graph to be exported."""

    name: str
    module: nn.Module
    """Takes the inputs in their order, and returns a tuple of the outputs."""
    inputs: Mapping[str, Tensor]
    """Name -> example; free sizes are at least 2 in it, as 0 and 1 would be taken for constants."""
    outputs: tuple[str, ...]
    exact: frozenset[str] = frozenset()
    """Inputs that stay float32 in graphs of float16: places and times."""
    free: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Input -> axis -> name of its size, where the size is free."""


@dataclass(frozen=True, kw_only=True)
class Exportable:
    """All that is exported of a model."""

    parts: list[Part]
    facts: dict[str, Any]
    """What the model's graphs do not say, as JSON values: sizes, and constants such as the pointer of an
    absent object."""
