"""Boxes of masks on the low-res grid: (x0, y0, x1, y1) in its pixels, right and bottom edges exclusive."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vidseg.masks import tight_box

Box = tuple[float, float, float, float]
BoolArray = npt.NDArray[np.bool_]


def box_of(mask_hw: BoolArray) -> Box | None:
    """The tightest box around a mask; None where it is empty."""
    return tight_box(mask_hw) if mask_hw.any() else None


def box_iou(one: Box, other: Box) -> float:
    """The intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1]) for b in (one, other)]
    whole = sum(areas) - shared
    return shared / whole if whole > 0 else 0.0


def largest_region(mask_hw: BoolArray) -> BoolArray:
    """The largest 8-connected region of a mask; empty where the mask is."""
    import cv2

    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask_hw.astype(np.uint8), connectivity=8)
    if len(stats) == 1:
        return np.zeros_like(mask_hw)
    found: BoolArray = regions == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return found
