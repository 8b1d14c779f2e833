"""Finds a lost object again, by its colours in the shape it had last."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.masks import tight_box

FloatMap = npt.NDArray[np.float32]

_SCALES = (0.7, 1.0, 1.4)
_RING_WEIGHT = 0.5
"""Weight of object-like colours around the shape, which count against a place: a wall of the object's colour
is no object."""


@dataclass(frozen=True)
class Find:
    """A place where a lost object may be."""

    response: float
    """Mean colour evidence in the shape, minus that in the ring around it."""
    shape: npt.NDArray[np.bool_]
    """h x w: the shape where it was found."""


def cut_shape(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask cut to its own rectangle."""
    x0, y0, x1, y1 = tight_box(mask)
    return mask[y0:y1, x0:x1].copy()


def find_shape(
    evidence: FloatMap, shape: npt.NDArray[np.bool_], scales: tuple[float, ...] = _SCALES
) -> Find | None:
    """The place and scale at which the colour evidence fits the shape best.

    Args:
        evidence: h x w colour evidence.
        shape: the object's mask, cut to its rectangle, in pixels of the same size.

    Returns:
        None if the shape is larger than the frame at every scale.
    """
    best: Find | None = None
    for scale in scales:
        size = max(1, round(shape.shape[1] * scale)), max(1, round(shape.shape[0] * scale))
        scaled = cv2.resize(shape.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
        if not scaled.any() or scaled.shape[0] > evidence.shape[0] or scaled.shape[1] > evidence.shape[1]:
            continue
        ring_px = max(1, round(0.15 * float(np.sqrt(scaled.sum()))))
        inside = np.pad(scaled, ring_px)
        around = cv2.dilate(inside.astype(np.uint8), np.ones((2 * ring_px + 1,) * 2, np.uint8)) > 0
        ring = around & ~inside
        kernel = inside / inside.sum() - _RING_WEIGHT * ring / ring.sum()
        # Nothing is known beyond the frame's border, so evidence there is 0.
        pad_y, pad_x = kernel.shape[0] // 2, kernel.shape[1] // 2
        padded = np.pad(evidence, ((pad_y, pad_y), (pad_x, pad_x)))
        response = cv2.matchTemplate(padded, kernel.astype(np.float32), cv2.TM_CCORR)
        _, highest, _, (x, y) = cv2.minMaxLoc(response)
        if best is None or highest > best.response:
            placed = np.zeros(padded.shape, bool)
            placed[y : y + kernel.shape[0], x : x + kernel.shape[1]] = inside
            best = Find(highest, placed[pad_y : pad_y + evidence.shape[0], pad_x : pad_x + evidence.shape[1]])
    return best
