"""A picture of several clips, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg.training.data.clip import Clip

_OUTLINE = (255, 40, 200)
_GAP = 4


def contact_sheet(clips: Sequence[Clip], columns: int = 2) -> NDArray[np.uint8]:
    """One row of frames for each clip, `columns` clips side by side, the object outlined in pink.

    Frames on which the object cannot be seen have a pink border.

    Returns:
        the picture, H x W x 3, RGB.
    """
    strips = [
        np.concatenate([_outlined(i, m) for i, m in zip(c.images, c.masks, strict=True)], axis=1)
        for c in clips
    ]
    height = max(s.shape[0] for s in strips) + _GAP
    width = max(s.shape[1] for s in strips) + _GAP
    rows = -(-len(strips) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for k, strip in enumerate(strips):
        y, x = (k // columns) * height, (k % columns) * width
        sheet[y : y + strip.shape[0], x : x + strip.shape[1]] = strip
    return sheet


def _outlined(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    drawn = image.copy()
    if not mask.any():
        cv2.rectangle(drawn, (0, 0), (drawn.shape[1] - 1, drawn.shape[0] - 1), _OUTLINE, 3)
        return drawn
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, _OUTLINE, 1)
    return drawn
