"""Policies that note places, which change when another part of the picture is looked at."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from vidseg.memory.bank import BankPolicy, ObjectBank

Pair = tuple[float, float]
"""A number of columns, and one of rows."""


@runtime_checkable
class PlacingPolicy(BankPolicy, Protocol):
    """A policy that notes where objects are on the low-res grid."""

    def place(self, bank: ObjectBank, scale_xy: Pair, shift_xy: Pair) -> None:
        """Change what is noted of an object, as the grid shows another part of the picture from now on.

        Args:
            scale_xy, shift_xy: what was at x is at scale · x + shift now, in pixels of the grid from its
                corner.
        """
        ...
