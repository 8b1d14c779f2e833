"""J and F of one mask against its truth, as davis2017-evaluation computes them (Perazzi et al., CVPR 2016)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

BOUND = 0.008
"""Tolerance of F, as a share of the picture's diagonal."""


def region_j(mask: Mask, truth: Mask) -> float:
    """Intersection over union of two bool (H, W) masks; 1 where both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def boundary_f(mask: Mask, truth: Mask) -> float:
    """F-measure of the boundaries of two bool (H, W) masks: 2PR / (P + R).

    A boundary pixel counts as found when the other boundary passes within `BOUND` of the diagonal, in whole
    pixels rounded up. 1 where neither mask has a boundary, 0 where one has none.
    """
    import cv2

    radius = math.ceil(BOUND * math.hypot(*mask.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    edge, true_edge = _boundary(mask), _boundary(truth)
    num_edge, num_true_edge = np.count_nonzero(edge), np.count_nonzero(true_edge)
    if not num_edge or not num_true_edge:
        return float(num_edge == num_true_edge)
    precision = np.count_nonzero(edge & cv2.dilate(true_edge, disk)) / num_edge
    recall = np.count_nonzero(true_edge & cv2.dilate(edge, disk)) / num_true_edge
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: Mask) -> npt.NDArray[np.uint8]:
    """Pixels that differ from the one to the right, below, or below to the right; nothing outside counts."""
    right, below, diagonal = mask.copy(), mask.copy(), mask.copy()
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    edge = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    edge[-1] = mask[-1] ^ right[-1]
    edge[:, -1] = mask[:, -1] ^ below[:, -1]
    edge[-1, -1] = False
    return edge.astype(np.uint8)
