"""The part of a frame that an object is looked for in, cut alike at every resolution that we work at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

HALF = 2
"""Pixels of the grid to a pixel of the half-resolution maps (colours, evidence)."""
QUARTER = 4
"""Pixels of the grid to a pixel of the quarter-resolution maps (motions, shapes)."""
CELL = 8
"""Pixels of the grid to a cell of local colour counts."""


@dataclass(frozen=True)
class Window:
    """Rows and columns in cells: the first ones and, past the end, the last ones."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def around(
        cls, marked: npt.NDArray[np.bool_], pixel: int, margin_px: float, grid_hw: tuple[int, int]
    ) -> Window:
        """The cells that hold what is marked, and a margin.

        Args:
            marked: with at least one pixel.
            pixel: pixels of the grid to a pixel of `marked`.
        """
        rows, columns = np.flatnonzero(marked.any(1)), np.flatnonzero(marked.any(0))
        bounds = []
        for first, last, size in ((rows[0], rows[-1], grid_hw[0]), (columns[0], columns[-1], grid_hw[1])):
            low = max(0, int((first * pixel - margin_px) // CELL))
            high = min(-(-size // CELL), int(-(-((last + 1) * pixel + margin_px) // CELL)))
            bounds.append((low, max(high, low + 1)))
        (top, bottom), (left, right) = bounds
        return cls(top, left, bottom, right)

    def at(self, pixel: int) -> tuple[slice, slice]:
        """The slices of a map whose pixel is `pixel` pixels of the grid."""
        each = CELL // pixel
        return slice(self.top * each, self.bottom * each), slice(self.left * each, self.right * each)

    def corner(self, pixel: int) -> tuple[int, int]:
        """Top row and left column, likewise."""
        each = CELL // pixel
        return self.top * each, self.left * each
