"""The part of a frame in which an object is searched, cut alike at every resolution in use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidseg.masks import tight_box

HALF = 2
"""Side, in pixels of the grid, of a pixel of the half-resolution maps (colours, evidence)."""
QUARTER = 4
"""Side, in pixels of the grid, of a pixel of the quarter-resolution maps (motions, shapes)."""
CELL = 8
"""Side, in pixels of the grid, of a cell of local colour counts."""


@dataclass(frozen=True)
class Window:
    """A rectangle of cells: its first row and column, and those past its end."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def around(
        cls, marked: npt.NDArray[np.bool_], pixel: int, margin_px: float, grid_hw: tuple[int, int]
    ) -> Window:
        """The cells that hold all marked pixels, and a margin.

        Args:
            marked: a map with at least one pixel set.
            pixel: side of a pixel of `marked`, in pixels of the grid.
            margin_px: width of the margin, in pixels of the grid.
        """
        x0, y0, x1, y1 = tight_box(marked)
        bounds = []
        for first, end, size in ((y0, y1, grid_hw[0]), (x0, x1, grid_hw[1])):
            low = max(0, int((first * pixel - margin_px) // CELL))
            high = min(-(-size // CELL), int(-(-(end * pixel + margin_px) // CELL)))
            bounds.append((low, max(high, low + 1)))
        (top, bottom), (left, right) = bounds
        return cls(top, left, bottom, right)

    def at(self, pixel: int) -> tuple[slice, slice]:
        """The slices that cut the window out of a map whose pixels are `pixel` pixels of the grid wide."""
        each = CELL // pixel
        return slice(self.top * each, self.bottom * each), slice(self.left * each, self.right * each)

    def corner(self, pixel: int) -> tuple[int, int]:
        """The top row and left column of the window in such a map."""
        each = CELL // pixel
        return self.top * each, self.left * each
