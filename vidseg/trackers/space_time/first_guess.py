"""A first guess at what a prompt asks for: what GrabCut finds in a box or by clicks.

Layouts: R rows (objects) · h w the low-res grid.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vidseg.trackers.contract import Prompt
from vidseg.trackers.grab_cut import grab_cut
from vidseg.trackers.initial_mask import segment_prompt
from vidseg.trackers.space_time import prompt_maps

PADDING = 0.3
"""Surroundings that are looked at, as a share of the box's sides."""
SIDE_PX = 200
"""What is looked at is enlarged to this: on few pixels GrabCut finds next to nothing."""
ROUNDS = 3
LEAST_SHARE = 0.05
"""Of the box."""
UNSURE = 0.12
"""How likely GrabCut is wrong, about."""
CLICK_SCALE = 2
"""The low-res picture is enlarged by this where clicks are looked at."""


@torch.no_grad()
def first_guess(
    pixels_r3hw: Tensor,
    points_rp2: Tensor,
    labels_rp: Tensor,
    stride: int,
    previous_rhw: Tensor | None = None,
) -> Tensor:
    """R x h x w, from 0 to 1.

    Args:
        pixels_r3hw: RGB from 0 to 255; 1 row if all rows share the frame.
        points_rp2: pixels of the model's input.
        labels_rp: as for `prompt_maps.draw`.
        stride: of the low-res grid.
        previous_rhw: the mask so far, from 0 to 1; clicks correct it, and a box says nothing new.
    """
    pictures = pixels_r3hw.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    height, width = pictures.shape[1:3]
    drawn = prompt_maps.draw(points_rp2, labels_rp, (height, width), stride).float().cpu().numpy()
    every = points_rp2.float().cpu().numpy() / stride, labels_rp.cpu().numpy()
    known = [None] * len(drawn) if previous_rhw is None else list(previous_rhw.float().cpu().numpy())
    rows = []
    for row, (points_xy, labels, so_far) in enumerate(zip(*every, known, strict=True)):
        picture = pictures[row % len(pictures)]
        if so_far is None and (drawn[row, 0] > 0.5).any():
            rows.append(_from_box(picture, *drawn[row]))
            continue
        is_click = (labels == 0) | (labels == 1)
        rows.append(_from_clicks(picture, points_xy[is_click], labels[is_click], so_far))
    return torch.from_numpy(np.stack(rows)).to(pixels_r3hw)


def _from_clicks(
    picture: np.ndarray, points_xy: np.ndarray, labels: np.ndarray, so_far: np.ndarray | None
) -> np.ndarray:
    is_object = np.zeros(picture.shape[:2], bool) if so_far is None else so_far > 0.5
    if not len(labels) or not (is_object.any() or labels.any()):
        return is_object.astype(np.float32) if so_far is None else so_far  # nothing is said of where it is
    size = picture.shape[1::-1]
    large = [CLICK_SCALE * side for side in size]
    found = segment_prompt(
        cv2.resize(picture, large, interpolation=cv2.INTER_CUBIC),
        Prompt.of(points=(points_xy * CLICK_SCALE).tolist(), labels=labels.tolist()),
        cv2.resize(is_object.astype(np.uint8), large, interpolation=cv2.INTER_NEAREST) > 0,
    )
    answer = _unsure(cv2.resize(found.astype(np.float32), size, interpolation=cv2.INTER_AREA))
    return answer if so_far is None else np.where((answer > 0.5) == is_object, so_far, answer)


def _unsure(answer: np.ndarray) -> np.ndarray:
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
    # A box in which GrabCut finds next to nothing is all that is known of the object.
    answer = box.astype(np.float32)
    if found.sum() > LEAST_SHARE * box.sum():
        answer[window] = found
    return _unsure(answer)


def _window(box: np.ndarray) -> tuple[slice, slice]:
    spans = []
    for along in (1, 0):
        inside = np.flatnonzero(box.any(axis=along))
        pad = round(PADDING * len(inside)) + 1
        spans.append(slice(max(0, int(inside[0]) - pad), int(inside[-1]) + pad + 1))
    return spans[0], spans[1]
