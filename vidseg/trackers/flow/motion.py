"""Evidence from motion: what moves with an object rather than with its surroundings."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]

_FEW = 0.02
"""The mean of a window counts for more than that of the whole side once this share of it has been seen."""
_SMEAR = 0.25
"""Weight of agreeing with the object's motion outside the carried mask; it is low as flow smears over
contours."""


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
