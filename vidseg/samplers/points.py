"""Where samplers ask: grids of points, and the crops of a picture that get grids of their own.

Source: SAM's `build_point_grid` and `generate_crop_boxes` (segment_anything/utils/amg.py), and TinySAM's
`hierarchical_generate` (tinysam/hierarchical_mask_generator.py).
"""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Points = npt.NDArray[np.float64]


def grid_points(per_side: int, size_hw: tuple[int, int]) -> Points:
    """The centres of per_side x per_side equal tiles of a picture, row by row: float64 N x 2, (x, y)."""
    centres = np.linspace(1 / (2 * per_side), 1 - 1 / (2 * per_side), per_side)
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.stack((x, y), axis=-1).reshape(-1, 2) * (size_hw[1], size_hw[0])


def points_around(coarse_xy: Points, size_hw: tuple[int, int], per_side: int) -> Points:
    """The second round of TinySAM's sampler: the dense points of the tile that each coarse point stands for.

    They lie -1 to +2 dense strides from the coarse point, the coarse point itself excepted. Strides are
    whole pixels, rounded down, and points on or beyond the picture's edge are left out.
    """
    height, width = size_hw
    strides = np.array([max(1, width // per_side), max(1, height // per_side)])
    offsets = np.array([(x, y) for y, x in product(range(-1, 3), repeat=2) if (x, y) != (0, 0)])
    points = (coarse_xy[:, None] + offsets * strides).reshape(-1, 2)
    return points[(points < (width, height)).all(1) & (points >= 0).all(1)]


class Crop(NamedTuple):
    """A part of a picture: pixels x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.y1 - self.y0, self.x1 - self.x0


def crop_layer(size_hw: tuple[int, int], layer: int, overlap_ratio: float) -> list[Crop]:
    """The crops of one layer: 2^layer x 2^layer of them, column by column; layer 0 is the whole picture. Of
    a picture of few pixels there are fewer, as none is empty.

    Args:
        overlap_ratio: of neighbours in layer 1, as a share of the picture's short side; half as much in each
            further layer.
    """
    height, width = size_hw
    if layer == 0:
        return [Crop(0, 0, width, height)]
    count = 2**layer
    overlap = int(overlap_ratio * min(size_hw) * (2 / count))
    crop_w, crop_h = (ceil((overlap * (count - 1) + length) / count) for length in (width, height))
    starts_x, starts_y = ([(side - overlap) * place for place in range(count)] for side in (crop_w, crop_h))
    return [
        Crop(x0, y0, min(x0 + crop_w, width), min(y0 + crop_h, height))
        for x0, y0 in product(starts_x, starts_y)
        if x0 < width and y0 < height
    ]
