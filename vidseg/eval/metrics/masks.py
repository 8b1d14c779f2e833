"""J and F of two masks, without a benchmark."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.errors import InputError
from vidseg.eval.metrics.boundary import TOLERANCE, boundary_radius, disk
from vidseg.eval.metrics.frame import FramePair


def region_j(prediction: Any, truth: Any, *, void: Any = None) -> float:
    """J, the region measure: intersection over union of two masks.

    Args:
        prediction, truth: bool H x W (anything above 0 is the object).
        void: bool H x W: pixels that nobody can judge; they count for neither mask.

    Returns:
        0 to 1; 1 where both masks are empty.

    Raises:
        InputError: the masks differ in size, or are not two-dimensional.
    """
    return _pair(prediction, truth, void).j([1])[0]


def boundary_f(prediction: Any, truth: Any, *, void: Any = None, tolerance: float = TOLERANCE) -> float:
    """F, the boundary measure: harmonic mean of precision and recall of the outlines' pixels.

    After davis2017-evaluation (Perazzi et al., CVPR 2016): an outline pixel is met when the other outline
    has one within the radius ceil(tolerance * diagonal).

    Args:
        prediction, truth, void: see `region_j`; void pixels become background.
        tolerance: share of the frame's diagonal; 1 or more: the radius in pixels.

    Returns:
        0 to 1; 1 where neither mask has an outline (a mask that fills the frame has none).

    Raises:
        InputError: see `region_j`.
    """
    pair = _pair(prediction, truth, void)
    return pair.f([1], disk(boundary_radius(pair.size_hw, tolerance)))[0]


def mask_miou(predictions: Any, truths: Any) -> float:
    """Mean J over pairs of masks, as single-image promptable segmentation reports it (SAM's mIoU)."""
    scores = [region_j(p, t) for p, t in zip(predictions, truths, strict=True)]
    if not scores:
        raise InputError("no masks to compare")
    return float(np.mean(scores))


def _pair(prediction: Any, truth: Any, void: Any) -> FramePair:
    masks = [_mask(prediction, "prediction"), _mask(truth, "ground truth")]
    if masks[0].shape != masks[1].shape:
        raise InputError(f"a prediction of {masks[0].shape} for a ground truth of {masks[1].shape}")
    if void is not None:
        outside = _mask(void, "void") == 0
        if outside.shape != masks[0].shape:
            raise InputError(f"void pixels of {outside.shape} for masks of {masks[0].shape}")
        masks = [mask & outside for mask in masks]
    return FramePair(masks[1], masks[0])


def _mask(mask: Any, what: str) -> npt.NDArray[np.uint8]:
    array = np.asarray(mask)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"a {what} of shape {array.shape}", hint="give height x width")
    return (array > 0).astype(np.uint8)
