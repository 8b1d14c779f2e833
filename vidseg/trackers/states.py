"""What a tracker's own numbers say of an object on a frame."""

from __future__ import annotations

from vidseg.trackers.contract import ObjectState

UNCERTAIN_SCORE_LOGIT = 1.0
"""Below this object score (a probability of 0.73) a visible object is called uncertain."""
UNCERTAIN_IOU = 0.5
"""Below this predicted IoU a visible object is called uncertain."""


def object_state(object_score_logit: float, predicted_iou: float, has_pixels: bool) -> ObjectState:
    """'absent' when the object is judged gone or its mask is empty, 'uncertain' when the numbers are weak."""
    if object_score_logit <= 0 or not has_pixels:
        return "absent"
    if object_score_logit < UNCERTAIN_SCORE_LOGIT or predicted_iou < UNCERTAIN_IOU:
        return "uncertain"
    return "visible"
