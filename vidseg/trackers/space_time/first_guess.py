"""A first guess at what a prompt asks for: what GrabCut finds in a box; for clicks, only their disks.

Layouts: R rows (objects) · h w the low-res grid.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vidseg.masks import tight_box
from vidseg.trackers.grab_cut import grab_cut

PADDING = 0.3
"""How far around a box GrabCut sees, as a share of the sides of the box."""
SIDE_PX = 200
"""Crops are enlarged to this side, as GrabCut finds next to nothing in few pixels."""
ROUNDS = 1
"""How many iterations of GrabCut are run. The network was trained on guesses after three, which take more
than twice as long; its answers are as good after one."""
LEAST_SHARE = 0.05
"""GrabCut's answer is used only if it fills more than this share of the box."""
UNSURE = 0.12
"""Probability that GrabCut is wrong on a pixel, roughly."""


@torch.no_grad()
def first_guess(pixels_r3hw: Tensor, drawn_rchw: Tensor) -> Tensor:
    """How likely each pixel is on the object: R x h x w, from 0 to 1.

    Args:
        pixels_r3hw: RGB from 0 to 255; one row if all objects share the frame.
        drawn_rchw: maps of `prompt_maps.draw` on the same grid.
    """
    pictures = pictures_of(pixels_r3hw)
    drawn = drawn_rchw.float().cpu().numpy()
    rows = []
    for row, (box, on, off) in enumerate(drawn):
        has_box = (box > 0.5).any()
        rows.append(_from_box(pictures[row % len(pictures)], box, on, off) if has_box else on)
    return torch.from_numpy(np.stack(rows)).to(drawn_rchw)


def pictures_of(pixels_r3hw: Tensor) -> np.ndarray:
    """Pixels as OpenCV takes them: uint8 R x h x w x 3."""
    return pixels_r3hw.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def unsure(answer: np.ndarray) -> np.ndarray:
    """How likely each pixel is on the object, given GrabCut's answer (from 0 to 1)."""
    return UNSURE + (1 - 2 * UNSURE) * answer


def _from_box(picture: np.ndarray, *drawn: np.ndarray) -> np.ndarray:
    box, on, off = (marks > 0.5 for marks in drawn)
    window = _window(box)
    crop = picture[window]
    scale = max(1.0, SIDE_PX / max(crop.shape[:2]))
    size = round(crop.shape[1] * scale), round(crop.shape[0] * scale)
    labels = np.where(box[window], cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    labels[on[window]], labels[off[window]] = cv2.GC_FGD, cv2.GC_BGD
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    large = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC)
    found = grab_cut(large, labels, ROUNDS).astype(np.float32)
    found = cv2.resize(found, crop.shape[1::-1], interpolation=cv2.INTER_AREA)
    # If GrabCut finds next to nothing in the box, the box itself is the best guess.
    answer = box.astype(np.float32)
    if found.sum() > LEAST_SHARE * box.sum():
        answer[window] = found
    return unsure(answer)


def _window(box: np.ndarray) -> tuple[slice, slice]:
    x0, y0, x1, y1 = tight_box(box)
    pad_x, pad_y = (round(PADDING * side) + 1 for side in (x1 - x0, y1 - y0))
    return slice(max(0, y0 - pad_y), y1 + pad_y), slice(max(0, x0 - pad_x), x1 + pad_x)
