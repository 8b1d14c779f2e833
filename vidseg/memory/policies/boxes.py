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


def largest_region(mask_hw: BoolArray) -> BoolArray:
    """The largest 8-connected region of a mask; empty where the mask is."""
    import cv2

    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask_hw.astype(np.uint8), connectivity=8)
    if len(stats) == 1:
        return np.zeros_like(mask_hw)
    found: BoolArray = regions == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return found
