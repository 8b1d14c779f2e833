"""Masks as prompts, and how far two masks agree."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.masks import tight_box

BoolMask = npt.NDArray[np.bool_]


def innermost(mask: BoolMask) -> tuple[int, int]:
    """The pixel (x, y) of a mask that is furthest from its contour; the border is a contour, too."""
    distance = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(x), int(y)


def box_iou(mask: BoolMask, other: BoolMask) -> float:
    """IoU of the tight boxes around two masks; 0 if one of them is empty."""
    if not (mask.any() and other.any()):
        return 0.0
    (a0, b0, a1, b1), (c0, d0, c1, d1) = tight_box(mask), tight_box(other)
    width, height = min(a1, c1) - max(a0, c0), min(b1, d1) - max(b0, d0)
    shared = max(width, 0) * max(height, 0)
    return shared / ((a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - shared)
