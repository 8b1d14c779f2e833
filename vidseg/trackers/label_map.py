"""Label maps of objects that overlap: which object gets a pixel.

The rule is that of SAM 2's exporter: for label maps `tools/vos_inference.py` sets `non_overlap_masks`, so
that the object with the highest logit gets the pixel, and the first one on a tie
(`SAM2Base._apply_non_overlapping_constraints`). In outputs with a picture for each object, masks overlap.

The pixels that a mask loses by this rule are its hidden pixels. They are kept beside the masks and not cut
out of them, so that label maps can be made from stored masks when the logits are gone.

Layouts in shapes: N objects · H W video size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    BoolArray = npt.NDArray[np.bool_]

Box = tuple[int, int, int, int]
"""(x, y, width, height) in pixels."""


def mask_boxes(masks_nhw: BoolArray) -> list[Box]:
    """The tight box around each mask; all 0 where the mask is empty."""
    import cv2

    boxes = (cv2.boundingRect(mask.view(np.uint8)) for mask in masks_nhw)
    return [(x, y, w, h) for x, y, w, h in boxes]


def hidden_pixels(
    masks_nhw: BoolArray, strengths: Callable[[], npt.NDArray[np.float32]], boxes: Sequence[Box]
) -> BoolArray | None:
    """The pixels of each mask that a label map gives to another object.

    Args:
        masks_nhw: bool (N, H, W).
        strengths: gives float32 (N, H, W), usually the logits; called if masks overlap. Of the objects whose
            masks hold a pixel, the one with the highest value there gets it; the first one on a tie.
        boxes: boxes of the masks.

    Returns:
        bool (N, H, W), or None if no masks overlap.
    """
    hidden: BoolArray | None = None
    for i, j in combinations(range(len(masks_nhw)), 2):
        part = _shared_part(boxes[i], boxes[j])
        both = masks_nhw[i][part] & masks_nhw[j][part]
        if not both.any():
            continue
        if hidden is None:
            hidden, strengths_nhw = np.zeros_like(masks_nhw), strengths()
        is_second_higher = strengths_nhw[j][part] > strengths_nhw[i][part]
        hidden[i][part] |= both & is_second_higher
        hidden[j][part] |= both & ~is_second_higher
    return hidden


def still_hidden(masks_nhw: BoolArray, hidden_nhw: BoolArray) -> BoolArray:
    """The hidden pixels of masks some of which have changed: those that another mask still shows.

    Of a pixel that all its masks would hide, the logits that decided are not known any more; the first mask
    gets it.

    Args:
        hidden_nhw: bool (N, H, W), as `hidden_pixels` gave it for the masks before.
    """
    hidden = hidden_nhw & masks_nhw
    left = masks_nhw.any(0) & ~(masks_nhw & ~hidden).any(0)
    for row, mask in enumerate(masks_nhw):
        taken = mask & left
        hidden[row] &= ~taken
        left &= ~taken
    return hidden


def paint_label_map(
    obj_ids: Sequence[int], masks_nhw: BoolArray, boxes: Sequence[Box], hidden_nhw: BoolArray | None
) -> npt.NDArray[np.int32]:
    """int32 (H, W): the object id of each pixel, 0 for background.

    Args:
        hidden_nhw: see `hidden_pixels`. If it is None although masks overlap, their logits are unknown, and
            the first object gets the pixel.
    """
    picture = np.zeros(masks_nhw.shape[1:], np.int32)
    for row in reversed(range(len(obj_ids))):
        x, y, w, h = boxes[row]
        part = np.s_[y : y + h, x : x + w]
        shown = masks_nhw[row][part] if hidden_nhw is None else masks_nhw[row][part] & ~hidden_nhw[row][part]
        picture[part][shown] = obj_ids[row]
    return picture


def _shared_part(box: Box, other: Box) -> tuple[slice, slice]:
    """The rows and columns that two boxes have in common; empty slices if there are none."""
    (x, y, w, h), (other_x, other_y, other_w, other_h) = box, other
    left, top = max(x, other_x), max(y, other_y)
    right, bottom = min(x + w, other_x + other_w), min(y + h, other_y + other_h)
    return slice(top, max(top, bottom)), slice(left, max(left, right))
