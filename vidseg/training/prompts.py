"""Prompts as users give them, drawn from true masks.

Layouts: B rows · P points · S the side of the image. Points are x, y in pixels of the image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from vidseg.masks import tight_box
from vidseg.validation import Strict

MAX_POINTS = 5


class PromptShares(Strict):
    """How often each kind of prompt is drawn; the rest up to 1 are clicks."""

    mask: float = Field(default=0.5, ge=0, le=1)
    box: float = Field(default=0.35, ge=0, le=1)
    single_click: float = Field(default=0.0, ge=0, le=1)
    """How often clicks are one alone; else they are 1 to 5."""
    box_jitter: float = Field(default=0.08, ge=0, le=0.5)
    """Each side of a box is off by up to this share of the box's width or height."""

    @model_validator(mode="after")
    def _leaves_no_less_than_nothing(self) -> PromptShares:
        if self.mask + self.box > 1 + 1e-9:
            raise ValueError("mask and box together are more than 1; what is left of 1 is clicks")
        return self


def sample(
    masks_bss: Tensor, shares: PromptShares, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A prompt for each row: (whether it is the mask itself, points B x P x 2, labels B x P).

    Labels are 1 and 0 for clicks on and off the object, 2 and 3 for the corners of a box, -1 for padding.
    """
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    points = np.zeros((len(masks_bss), MAX_POINTS, 2), np.float32)
    labels = np.full((len(masks_bss), MAX_POINTS), -1, np.int32)
    is_mask = np.zeros(len(masks_bss), bool)
    for row, mask in enumerate(masks_bss.cpu().numpy()):
        kind = rng.random()
        is_mask[row] = kind < shares.mask
        if not is_mask[row] and kind < shares.mask + shares.box:
            points[row, :2] = _box(mask, shares.box_jitter, rng)
            labels[row, :2] = (2, 3)
            if rng.random() < 0.1:
                points[row, 2], labels[row, 2] = _inner_point(mask, rng), 1
        elif not is_mask[row]:
            is_single = shares.single_click > 0 and rng.random() < shares.single_click
            for p in range(1 if is_single else int(rng.integers(1, MAX_POINTS + 1))):
                on = p == 0 or rng.random() < 0.6 or mask.all()
                points[row, p] = _inner_point(mask, rng) if on else _point_off(mask, rng)
                labels[row, p] = int(on)
    device = masks_bss.device
    return (
        torch.from_numpy(is_mask).to(device),
        torch.from_numpy(points).to(device),
        torch.from_numpy(labels).to(device),
    )


def correct(
    logits_bhw: Tensor, masks_bss: Tensor, generator: torch.Generator, *, harmless: float = 0.0
) -> tuple[Tensor, Tensor]:
    """One click inside each row's largest error: points B x 1 x 2, labels B x 1.

    The click is positive where the object was missed and negative where too much was taken; its label is -1
    (padding) if nothing is wrong.

    Args:
        harmless: how often the click lies where the answer is right instead, as clicks of users sometimes do.
    """
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    side = masks_bss.shape[-1]
    predicted = torch.nn.functional.interpolate(logits_bhw[:, None], size=(side, side), mode="bilinear")
    points = np.zeros((len(masks_bss), 1, 2), np.float32)
    labels = np.full((len(masks_bss), 1), -1, np.int32)
    pairs = zip((predicted[:, 0] > 0).cpu().numpy(), masks_bss.cpu().numpy(), strict=True)
    for row, (taken, mask) in enumerate(pairs):
        missed, excess = mask & ~taken, taken & ~mask
        error, is_on = (missed, True) if missed.sum() >= excess.sum() else (excess, False)
        if harmless and rng.random() < harmless:
            is_on = bool(rng.random() < 0.5)
            error = taken & mask if is_on else ~(taken | mask)
        if error.any():
            points[row, 0], labels[row, 0] = _inner_point(error, rng), int(is_on)
    return torch.from_numpy(points).to(masks_bss.device), torch.from_numpy(labels).to(masks_bss.device)


def depth_inside(mask: np.ndarray) -> np.ndarray:
    """Distance, in pixels, of each pixel from the nearest one off the mask; beyond the picture is off."""
    depth: np.ndarray = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return depth


def deepest_point(mask: np.ndarray) -> tuple[float, float]:
    """The pixel of a mask that is furthest from all off it: x and y of its centre."""
    depth = depth_inside(mask)
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return float(column) + 0.5, float(row) + 0.5


def prompt_of(kind: str, mask: np.ndarray) -> dict[str, Any]:
    """Arguments of `Session.prompt` that give an object's 'mask', its tight 'box', or a 'click' where it is
    deepest."""
    if kind == "mask":
        return {"mask": mask}
    return {"box": tight_box(mask)} if kind == "box" else {"points": [deepest_point(mask)]}


def _box(mask: np.ndarray, jitter: float, rng: np.random.Generator) -> np.ndarray:
    box = np.array(tight_box(mask), np.float32).reshape(2, 2)
    size = box[1] - box[0]
    # Most boxes that people draw are tight; half of the boxes here are.
    if rng.random() < 0.5:
        box += rng.uniform(-jitter, jitter, (2, 2)).astype(np.float32) * size
    return box.clip(0, max(mask.shape))


def _inner_point(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random pixel well inside the mask, as people do not click on edges."""
    depth = depth_inside(mask)
    ys, xs = np.nonzero(depth >= 0.5 * depth.max())
    pick = int(rng.integers(len(ys)))
    return np.array([xs[pick] + 0.5, ys[pick] + 0.5], np.float32)


def _point_off(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random pixel off the object, near it more often than not."""
    off = ~mask
    if rng.random() < 0.7:
        side = max(3, int(0.1 * max(mask.shape)))
        near = cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
        off = off & near if (off & near).any() else off
    ys, xs = np.nonzero(off)
    pick = int(rng.integers(len(ys)))
    return np.array([xs[pick] + 0.5, ys[pick] + 0.5], np.float32)
