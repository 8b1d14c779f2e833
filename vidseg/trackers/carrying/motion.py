"""Motion between two frames: dense inverse-search optical flow (DIS; Kroeger et al., ECCV 2016)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]

_SMALLEST_SIDE = 32
"""DIS needs a pyramid, and so pictures of at least this side; smaller frames are taken to stand still."""


def flow_to_previous(
    grey: npt.NDArray[np.uint8], previous_grey: npt.NDArray[np.uint8], *, finest: bool = False
) -> FloatMap:
    """Where each pixel of this frame was in the previous one: float32 h x w x 2, (dx, dy) in pixels.

    Args:
        finest: whether to compute the flow at full resolution, which pays for small pictures; else at half.
    """
    if min(grey.shape) < _SMALLEST_SIDE:
        return np.zeros((*grey.shape, 2), np.float32)
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if finest:
        method.setFinestScale(0)
    flow: FloatMap = method.calc(grey, previous_grey, None)
    return flow


def warp(previous: FloatMap, flow: FloatMap, corner: tuple[int, int] = (0, 0)) -> FloatMap:
    """A map of the previous frame carried into this one, or into a window of it; beyond the frame it is 0.

    Args:
        previous: H x W or H x W x C.
        flow: h x w x 2, the flow of the window, in pixels of the map.
        corner: the window's top row and left column.
    """
    height, width = flow.shape[:2]
    x, y = np.meshgrid(
        np.arange(corner[1], corner[1] + width, dtype=np.float32),
        np.arange(corner[0], corner[0] + height, dtype=np.float32),
    )
    warped: FloatMap = cv2.remap(
        previous, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return warped


def scale_flow(flow: FloatMap, size_hw: tuple[int, int]) -> FloatMap:
    """The flow resized to a smaller grid, in pixels of that grid."""
    scaled: FloatMap = cv2.resize(flow, size_hw[::-1], interpolation=cv2.INTER_AREA)
    scaled *= np.array([size_hw[1] / flow.shape[1], size_hw[0] / flow.shape[0]], np.float32)
    return scaled
