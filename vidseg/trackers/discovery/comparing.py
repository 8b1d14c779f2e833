"""Compares masks: is one a known object, inside of one, or the same as before?

Layouts: N masks · H W the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

SAME_IOU = 0.6
"""Two masks are one object if their IoU is above this: an answer at the place of a tentative object, which it
confirms, and two objects that have become one."""


def is_known(mask: Mask, objects: Sequence[Mask], *, max_iou: float, max_inside: float) -> bool:
    """Whether a mask is one of some objects, lies inside one, or holds one."""
    area = int(np.count_nonzero(mask))
    for other in objects:
        shared = int(np.count_nonzero(mask & other))
        if not shared:
            continue
        other_area = int(np.count_nonzero(other))
        if shared > max_iou * (area + other_area - shared) or shared > max_inside * min(area, other_area):
            return True
    return False


def innermost_xy(mask: Mask) -> tuple[float, float]:
    """The centre of the pixel that lies furthest from the mask's edge and the frame's."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return float(x) + 0.5, float(y) + 0.5
