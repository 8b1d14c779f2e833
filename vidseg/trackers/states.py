"""The state of an object on a frame, derived from the numbers of a tracker."""

from __future__ import annotations

from vidseg.trackers.contract import ObjectState

UNCERTAIN_SCORE_LOGIT = 1.0
"""A visible object is called uncertain below this object score (a probability of 0.73)."""
UNCERTAIN_IOU = 0.5
"""A visible object is called uncertain below this predicted IoU."""


def object_state(object_score_logit: float, predicted_iou: float, has_pixels: bool) -> ObjectState:
    """'absent': judged gone, or the mask is empty; 'uncertain': the numbers are weak; else 'visible'."""
    if object_score_logit <= 0 or not has_pixels:
        return "absent"
    if object_score_logit < UNCERTAIN_SCORE_LOGIT or predicted_iou < UNCERTAIN_IOU:
        return "uncertain"
    return "visible"
