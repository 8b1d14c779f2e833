"""Applies clicks to the mask so far: GrabCut adds or removes surfaces near them.

Layouts: R rows (objects) · P points · h w the low-res grid.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vidseg.trackers.contract import Prompt
from vidseg.trackers.initial_mask import segment_prompt
from vidseg.trackers.space_time.first_guess import pictures_of, unsure

SCALE = 2
"""Crops are enlarged by this factor, as GrabCut finds next to nothing in few pixels."""


@torch.no_grad()
def corrected(
    pixels_r3hw: Tensor, mask_rhw: Tensor, points_rp2: Tensor, labels_rp: Tensor, stride: int
) -> Tensor:
    """The mask so far, replaced by the answer of GrabCut where that changes it: R x h x w, from 0 to 1.

    Args:
        pixels_r3hw: RGB from 0 to 255; one row if all objects share the frame.
        mask_rhw: masks so far, from 0 to 1.
        points_rp2: clicks, in pixels of the model's input.
        labels_rp: 1 on the object, 0 off it; other labels are ignored.
        stride: stride of the low-res grid.
    """
    pictures = pictures_of(pixels_r3hw)
    points, labels = points_rp2.float().cpu().numpy() / stride, labels_rp.cpu().numpy()
    rows = []
    for row, mask in enumerate(mask_rhw.float().cpu().numpy()):
        is_click = (labels[row] == 0) | (labels[row] == 1)
        picture = pictures[row % len(pictures)]
        rows.append(_corrected(picture, mask, points[row, is_click], labels[row, is_click]))
    return torch.from_numpy(np.stack(rows)).to(mask_rhw)


def _corrected(
    picture: np.ndarray, mask: np.ndarray, points_xy: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    is_object = mask > 0.5
    if not len(labels) or not (is_object.any() or labels.any()):
        return mask  # the clicks do not say where the object is
    size_wh = picture.shape[1::-1]
    large_wh = [SCALE * side for side in size_wh]
    found = segment_prompt(
        cv2.resize(picture, large_wh, interpolation=cv2.INTER_CUBIC),
        Prompt.of(points=(SCALE * points_xy).tolist(), labels=labels.tolist()),
        cv2.resize(is_object.astype(np.uint8), large_wh, interpolation=cv2.INTER_NEAREST) > 0,
    )
    answer = cv2.resize(found.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    return np.where((answer > 0.5) == is_object, mask, unsure(answer))
