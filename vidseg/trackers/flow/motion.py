"""Motion between two frames: dense inverse-search optical flow (DIS; Kroeger et al., ECCV 2016)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_SMALLEST_SIDE = 32
"""Below this DIS finds no pyramid to work on; such a frame is taken to stand still."""


def flow_to_previous(
    grey: npt.NDArray[np.uint8], previous_grey: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Where each pixel of this frame was in the previous one: float32 h x w x 2, (dx, dy) in pixels."""
    if min(grey.shape) < _SMALLEST_SIDE:
        return np.zeros((*grey.shape, 2), np.float32)
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow: npt.NDArray[np.float32] = method.calc(grey, previous_grey, None)
    return flow


def warp(picture: npt.NDArray[np.float32], flow: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A map of the previous frame (h x w) carried into this one; 0 comes in from outside."""
    height, width = picture.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    warped: npt.NDArray[np.float32] = cv2.remap(
        picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return warped
