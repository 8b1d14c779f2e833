"""Motion between two frames: dense inverse-search optical flow (DIS; Kroeger et al., ECCV 2016)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]

_SMALLEST_SIDE = 32
"""DIS needs a pyramid, and so pictures of at least this side; smaller frames are taken to stand still."""
_FEW = 0.02
"""The mean of a window counts for more than that of the whole side once this share of it has been seen."""
_SMEAR = 0.25
"""Weight of agreeing with the object's motion outside the carried mask; it is low as flow smears over
contours."""


def flow_to_previous(grey: npt.NDArray[np.uint8], previous_grey: npt.NDArray[np.uint8]) -> FloatMap:
    """Where each pixel of this frame was in the previous one: float32 h x w x 2, (dx, dy) in pixels."""
    if min(grey.shape) < _SMALLEST_SIDE:
        return np.zeros((*grey.shape, 2), np.float32)
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
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


def motion_evidence(
    prior: FloatMap, flow: FloatMap, *, radius: int, noise_px: float, limit: float
) -> FloatMap:
    """Log-likelihood ratio of each pixel moving with the object near it rather than with what surrounds it.

    Both motions are Gaussians about local means with one variance: the flow's own error and the local
    spread of the calmer side. Where the two move alike, or wildly, the ratio comes out near 0.

    Args:
        prior: h x w, the carried probability of the object.
        flow: h x w x 2, on the same grid.
        radius: half side of the window of the local means.
        noise_px: standard deviation of the flow's error, in pixels of this grid.
        limit: the most that a pixel can weigh.
    """
    side = (2 * radius + 1, 2 * radius + 1)
    # Only the parts that are surely on a side count, away from the contour.
    of_object = np.clip(2 * prior - 1, 0, 1)
    of_rest = np.clip(1 - 2 * cv2.dilate(prior, np.ones((5, 5), np.uint8)), 0, 1)
    speed_squared = _square(flow)
    distances, spreads = [], []
    for weight in (of_object, of_rest):
        weighted = flow * weight[..., None]
        overall = weighted.sum((0, 1)) / max(float(weight.sum()), 1e-3)
        mass = cv2.blur(weight, side) + np.float32(_FEW)
        mean = (cv2.blur(weighted, side) + np.float32(_FEW) * overall) / mass[..., None]
        mean_square = (cv2.blur(speed_squared * weight, side) + _FEW * float((overall**2).sum())) / mass
        spreads.append(np.maximum(mean_square - _square(mean), 0))
        distances.append(_square(flow - mean))
    variance = noise_px**2 + np.minimum(*spreads) / 2
    ratio = (distances[1] - distances[0]) / (2 * variance)
    most = np.where(prior > 0.5, limit, _SMEAR * limit)
    evidence: FloatMap = np.clip(ratio, -limit, most).astype(np.float32)
    return evidence


def _square(vectors: FloatMap) -> FloatMap:
    """Squared lengths of h x w x 2 vectors."""
    return vectors[..., 0] ** 2 + vectors[..., 1] ** 2
