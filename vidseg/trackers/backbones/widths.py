"""Widths of a transformer's blocks in a YAML: one number for all of them, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

Width = Annotated[int, Field(ge=1)]
BlockWidths = Width | list[Width]


def of_each_block(widths: int | Sequence[int], depth: int) -> tuple[int, ...]:
    """The width of each of `depth` blocks.

    Raises:
        ValueError: a list has another length.
    """
    each = (widths,) * depth if isinstance(widths, int) else tuple(widths)
    if len(each) != depth:
        raise ValueError(f"there are {len(each)} widths for {depth} blocks: give one number, or {depth}")
    return each


def divided(width: int, heads: int) -> int:
    """The channels of a head.

    Raises:
        ValueError: heads cannot be alike.
    """
    if width % heads:
        raise ValueError(f"{width} channels cannot be divided among {heads} heads")
    return width // heads
