"""Makes polygons of masks, for formats and tools that take nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Points = npt.NDArray[np.int64]
    """(n, 2): x, y."""

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Steps right, down, left and up: (x, y). The object lies on the right-hand side of an edge."""
_INSIDE = ((0, 0), (-1, 0), (-1, -1), (0, -1))
"""The pixel on the right-hand side of the edge that leaves corner (0, 0) by each step: (x, y)."""


def edge_polygons(mask: npt.NDArray[np.bool_]) -> list[Points]:
    """A polygon for each part of a bool (H, W) mask, along the edges of its pixels: nothing is smoothed.

    Pixel (x, y) covers x to x + 1 and y to y + 1, so a polygon's area is the number of its pixels. Parts that
    touch at a corner only are parts of their own. A hole is joined to the outline around it by a slit of no
    width, gone along once each way. Filled by the even-odd rule, or by pycocotools, polygons give the very
    mask.
    """
    import cv2

    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    parts: dict[int, list[Points]] = {}
    for loop, (x, y) in _edge_loops(mask):
        # Loops come in order of their topmost corner, so that a part's outer one is its first.
        parts.setdefault(int(labels[y, x]), []).append(loop)
    return [_joined(loops) for loops in parts.values()]


def centre_polygon(mask: npt.NDArray[np.bool_]) -> Points:
    """One polygon for a bool (H, W) mask, through the centres of its outermost pixels.

    `cv2.fillPoly`, which fills the pixels on the line too, gives the very mask of an object in one piece;
    where it has several, they are joined by lines of one pixel's width. Holes are kept.
    """
    import cv2

    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    loops = [contour.reshape(-1, 2).astype(np.int64) for contour in contours]
    return _corners(_joined(sorted(loops, key=len, reverse=True)))


def _edge_loops(mask: npt.NDArray[np.bool_]) -> Iterator[tuple[Points, tuple[int, int]]]:
    """The closed lines between the pixels of a mask and the others, with a pixel (x, y) inside each.

    Corners only; where two pixels touch at a corner the line stays with the pixel that it goes around.
    """
    height, width = mask.shape
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    leaving = np.zeros((height + 1, width + 1), np.uint8)  # bit d: an edge leaves the corner by _STEPS[d]
    for direction, neighbour in enumerate(neighbours):
        x, y = (-c for c in _INSIDE[direction])
        leaving[y : y + height, x : x + width] |= (inside & ~neighbour).astype(np.uint8) << direction
    edges = bytearray(leaving.tobytes())
    strides = [x + y * (width + 1) for x, y in _STEPS]
    for start in np.flatnonzero(leaving).tolist():
        while edges[start]:
            first = next(d for d in range(4) if edges[start] >> d & 1)
            corners, corner, direction = [start], start, first
            while True:
                edges[corner] &= ~(1 << direction)
                corner += strides[direction]
                if corner == start:
                    break
                turned = next(d for d in _by_preference(direction) if edges[corner] >> d & 1)
                if turned != direction:
                    corners.append(corner)
                direction = turned
            y, x = divmod(start, width + 1)
            loop = np.stack(np.divmod(np.asarray(corners), width + 1)[::-1], axis=1)
            yield loop, (x + _INSIDE[first][0], y + _INSIDE[first][1])


def _by_preference(direction: int) -> tuple[int, int, int]:
    """Directions to continue in, in order of preference: right, straight on, left."""
    return (direction + 1) % 4, direction, (direction + 3) % 4


def _corners(polygon: Points) -> Points:
    """The polygon without points at which it goes straight on."""
    (in_x, in_y), (out_x, out_y) = (polygon - np.roll(polygon, 1, 0)).T, (np.roll(polygon, -1, 0) - polygon).T
    goes_straight_on = (in_x * out_y == in_y * out_x) & (in_x * out_x + in_y * out_y > 0)
    return polygon[~goes_straight_on]


def _joined(loops: Sequence[Points]) -> Points:
    """One polygon of several, joined by lines that are gone along once each way; always the nearest one next.

    The line to the nearest one of all crosses none of the others.
    """
    polygon = newest = loops[0]
    if len(loops) == 1:
        return polygon
    starts = np.cumsum([0, *map(len, loops[1:])])
    points = np.concatenate(loops[1:])
    is_joined = np.zeros(len(points), np.bool_)
    distances = np.full(len(points), np.inf)  # squared, of each point from the polygon
    for _ in loops[1:]:
        distances = np.minimum(distances, _distances(points, newest))
        nearest = int(np.where(is_joined, np.inf, distances).argmin())
        number = int(np.searchsorted(starts, nearest, side="right")) - 1
        newest, here = loops[1 + number], nearest - int(starts[number])
        there = int(((polygon - points[nearest]) ** 2).sum(1).argmin())
        detour = np.concatenate([polygon[there : there + 1], newest[here:], newest[: here + 1]])
        polygon = np.concatenate([polygon[:there], detour, polygon[there:]])
        is_joined[starts[number] : starts[number + 1]] = True
    return polygon


def _distances(points: Points, others: Points) -> npt.NDArray[np.float64]:
    """The squared distance of each point from the nearest of the others."""
    nearest = np.full(len(points), np.inf)
    for some in np.array_split(others, -(-len(others) // 64)):
        # |p - o|^2 less |p|^2, by one product of matrices; all of it whole numbers, so exact.
        squares = (some**2).sum(1)[:, None] - 2.0 * some @ points.T.astype(np.float64)
        np.minimum(nearest, squares.min(0), out=nearest)
    return nearest + (points**2).sum(1)
