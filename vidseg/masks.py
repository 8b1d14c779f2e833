"""What is measured of masks, by trackers and samplers alike.

Layouts: H W a mask's height and width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Box = tuple[float, float, float, float]


def stability(logits: Tensor, delta: float) -> Tensor:
    """IoU of a mask cut at +delta with itself cut at -delta: ... x H x W to ...; 1 if both are empty."""
    import torch

    inner = (logits > delta).flatten(-2).sum(-1).float()
    outer = (logits > -delta).flatten(-2).sum(-1).float()
    return torch.where(outer > 0, inner / outer, 1.0)


def iou(mask: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], *, if_both_empty: float = 1.0) -> float:
    """Intersection over union of two masks, H x W."""
    shared = int(np.count_nonzero(mask & other))
    either = int(np.count_nonzero(mask)) + int(np.count_nonzero(other)) - shared
    return shared / either if either else if_both_empty


def tight_box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1) around a mask (H x W), in pixels; right and bottom edges exclusive.

    Raises:
        ValueError: the mask is empty.
    """
    xs, ys = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(xs):
        raise ValueError("an empty mask has no box")
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def box_iou(one: Box, other: Box) -> float:
    """The intersection over union of two boxes (x0, y0, x1, y1); 0 if both are empty."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1]) for b in (one, other)]
    whole = sum(areas) - shared
    return shared / whole if whole > 0 else 0.0


def box_xywh(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """First column and row of a mask (H x W), and the distances of its last ones from them; 0 if empty.

    This is the box of SAM's mask generator; a COCO box is one pixel wider and higher.
    """
    if not mask.any():
        return np.zeros(4, np.float32)
    x0, y0, x1, y1 = tight_box(mask)
    return np.array([x0, y0, x1 - 1 - x0, y1 - 1 - y0], np.float32)


def boxes_xyxy(masks_nhw: Tensor) -> Tensor:
    """First column and row, last column and row of each mask: int64 N x 4; 0 for an empty mask."""
    import torch

    if not len(masks_nhw):
        return torch.zeros(0, 4, dtype=torch.int64, device=masks_nhw.device)
    columns, rows = masks_nhw.any(-2), masks_nhw.any(-1)
    x0, y0 = columns.int().argmax(-1), rows.int().argmax(-1)
    x1 = columns.shape[-1] - 1 - columns.flip(-1).int().argmax(-1)
    y1 = rows.shape[-1] - 1 - rows.flip(-1).int().argmax(-1)
    boxes = torch.stack((x0, y0, x1, y1), dim=-1)
    return torch.where(columns.any(-1, keepdim=True), boxes, 0)
