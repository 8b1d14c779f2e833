"""Prompts as users give them, drawn from true masks.

Layouts: B rows · P points · S the side of the image. Points are x, y in pixels of the image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vidseg.validation import Strict

MAX_POINTS = 5


class PromptShares(Strict):
    """How often each kind of prompt is drawn; what is left of 1 is clicks."""

    mask: float = Field(default=0.5, ge=0, le=1)
    box: float = Field(default=0.35, ge=0, le=1)
    box_jitter: float = Field(default=0.08, ge=0, le=0.5)
    """A side of the box is off by up to this share of the box's width or height."""


def sample(
    masks_bss: Tensor, shares: PromptShares, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A prompt for each row: (is it the mask itself, points B x P x 2, labels B x P).

    Labels are 1 and 0 for clicks on and off the object, 2 and 3 for the corners of a box, -1 for none.
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
            for p in range(int(rng.integers(1, MAX_POINTS + 1))):
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

    A click on the object where it was missed, off it where too much was taken; -1 where nothing is wrong.

    Args:
        harmless: how often the click lies instead where the answer is right, as users' clicks do, too.
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


def tight_box(mask: np.ndarray) -> list[float]:
    """(x0, y0, x1, y1) in pixels of a mask that is not empty, the last ones excluded."""
    ys, xs = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return [float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)]


def depth_inside(mask: np.ndarray) -> np.ndarray:
    """How far each pixel is from what is not on the mask, beyond the picture's edge too; in pixels."""
    depth: np.ndarray = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return depth


def deepest_point(mask: np.ndarray) -> tuple[float, float]:
    """x and y of the pixel of a mask that is furthest from what is not on it: of its centre."""
    depth = depth_inside(mask)
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return float(column) + 0.5, float(row) + 0.5


def prompt_of(kind: str, mask: np.ndarray) -> dict[str, Any]:
    """What `Session.prompt` takes: an object's 'mask', its tight 'box', or a 'click' where it is deepest."""
    if kind == "mask":
        return {"mask": mask}
    return {"box": tight_box(mask)} if kind == "box" else {"points": [deepest_point(mask)]}


def _box(mask: np.ndarray, jitter: float, rng: np.random.Generator) -> np.ndarray:
    box = np.array(tight_box(mask), np.float32).reshape(2, 2)
    size = box[1] - box[0]
    # Most boxes that people give are tight; half of these are.
    if rng.random() < 0.5:
        box += rng.uniform(-jitter, jitter, (2, 2)).astype(np.float32) * size
    return box.clip(0, max(mask.shape))


def _inner_point(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pixel well inside: people do not click on edges."""
    depth = depth_inside(mask)
    ys, xs = np.nonzero(depth >= 0.5 * depth.max())
    pick = int(rng.integers(len(ys)))
    return np.array([xs[pick] + 0.5, ys[pick] + 0.5], np.float32)


def _point_off(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pixel off the object, near it more often than not."""
    off = ~mask
    if rng.random() < 0.7:
        side = max(3, int(0.1 * max(mask.shape)))
        near = cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
        off = off & near if (off & near).any() else off
    ys, xs = np.nonzero(off)
    pick = int(rng.integers(len(ys)))
    return np.array([xs[pick] + 0.5, ys[pick] + 0.5], np.float32)
