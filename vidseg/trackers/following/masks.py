"""Masks as prompts, and how far two masks agree."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.masks import box_iou, tight_box

BoolMask = npt.NDArray[np.bool_]


def innermost(mask: BoolMask) -> tuple[int, int]:
    """The pixel (x, y) of a mask that is furthest from its contour; the border is a contour, too."""
    distance = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(x), int(y)


def iou_of_boxes(mask: BoolMask, other: BoolMask) -> float:
    """IoU of the tight boxes around two masks; 0 if one of them is empty."""
    if not (mask.any() and other.any()):
        return 0.0
    return box_iou(tight_box(mask), tight_box(other))
