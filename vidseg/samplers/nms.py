"""Non-maximum suppression of boxes: of boxes that overlap too much, the one with the best score stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def kept_by_nms(
    boxes_xyxy: npt.NDArray[np.floating[Any]], scores: npt.NDArray[np.floating[Any]], max_iou: float
) -> npt.NDArray[np.int64]:
    """The boxes that stay, as indices, best score first; of equal scores the earlier box goes first.

    A box goes if its IoU with a better one that stays is above `max_iou`. Areas are (x1 - x0)·(y1 - y0), IoUs
    are float32, and the threshold is not rounded, as in torchvision: so boxes on the threshold fare alike.

    Args:
        boxes_xyxy: N x 4.
        scores: N.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    boxes = np.asarray(boxes_xyxy, np.float32)[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    stays = np.ones(len(boxes), bool)
    for place in range(len(boxes)):
        if stays[place]:
            rest = slice(place + 1, None)
            ious = _ious(boxes[place], areas[place], boxes[rest], areas[rest])
            stays[rest] &= ~(ious.astype(np.float64) > max_iou)
    return order[stays]


def _ious(
    box: npt.NDArray[np.float32],
    area: np.float32,
    boxes: npt.NDArray[np.float32],
    areas: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    width, height = np.maximum(high - low, 0).T
    shared = width * height
    union = area + areas - shared
    # Two boxes without area (one pixel wide) have no union; torchvision's NaN does not suppress either.
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
