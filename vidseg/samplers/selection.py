"""Which of many masks answer a prompt: by a box, by points or by a text. The masks may come from anywhere.

Source: FastSAM (Zhao et al., "Fast Segment Anything"), section 3.3: everything is segmented first, and
prompts only choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import PromptError
from vidseg.samplers.found import Found

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Scorer = Callable[[Sequence[npt.NDArray[np.uint8]], str], Sequence[float]]
    """(pictures, uint8 H x W x 3 RGB; a text) -> how well each picture fits the text; higher is better."""

LEAST_AREA = 100
"""Masks of fewer pixels are not shown to a text scorer."""


def by_box(found: Sequence[Found], box: Any) -> Found:
    """The mask with the highest IoU with a box, which counts as a mask of all its pixels.

    Args:
        box: (x0, y0, x1, y1) in pixels of the picture.

    Raises:
        PromptError: there is no mask to choose, or the box holds no pixel of the picture.
    """
    _need_masks(found)
    height, width = found[0].mask.shape
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
    if x0 >= x1 or y0 >= y1:
        raise PromptError(f"the box {tuple(box)} holds no pixel of a picture {width} x {height}")
    inside = np.array([thing.mask[y0:y1, x0:x1].sum() for thing in found])
    areas = np.array([thing.mask.sum() for thing in found])
    return found[int(np.argmax(inside / ((x1 - x0) * (y1 - y0) + areas - inside)))]


def by_points(found: Sequence[Found], points: Any, labels: Any = None) -> Mask:
    """The masks under positive points, without those under negative ones.

    Masks are walked from the largest to the smallest: one that holds a positive point is added, one that
    holds a negative point is taken away; of several points in one mask, the last one counts. So a small part
    can be taken from a large object.

    Args:
        points: P x 2 in pixels of the picture.
        labels: P: 1 on the object, 0 off it; None: all are on it.

    Returns:
        bool H x W; empty if no mask holds a positive point.

    Raises:
        PromptError: there is no mask to choose, or a point lies outside of the picture.
    """
    _need_masks(found)
    height, width = found[0].mask.shape
    columns, rows = np.asarray(points, float).reshape(-1, 2).astype(int).T
    marks = np.ones(len(rows), int) if labels is None else np.asarray(labels)
    if len(marks) != len(rows):
        raise PromptError(f"{len(rows)} points with {len(marks)} labels", hint="give a label for each point")
    if ((columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)).any():
        raise PromptError(f"a point lies outside of the picture ({width} x {height} pixels)")
    chosen = np.zeros((height, width), bool)
    for thing in sorted(found, key=lambda one: int(one.mask.sum()), reverse=True):
        for label in marks[thing.mask[rows, columns]]:
            chosen[thing.mask] = label == 1
    return chosen


def by_text(
    found: Sequence[Found], image: npt.NDArray[np.uint8], text: str, score: Scorer
) -> tuple[Found, float]:
    """The mask whose cut-out fits a text best, and its score.

    Args:
        image: uint8 H x W x 3 RGB, the picture of the masks.
        score: compares pictures with a text; for example CLIP, from a plug-in.

    Raises:
        PromptError: there is no mask to choose.
    """
    large = [thing for thing in found if thing.mask.sum() >= LEAST_AREA] or list(found)
    _need_masks(large)
    scores = [float(value) for value in score([cut_out(image, thing) for thing in large], text)]
    best = int(np.argmax(scores))
    return large[best], scores[best]


def cut_out(image: npt.NDArray[np.uint8], thing: Found) -> npt.NDArray[np.uint8]:
    """The picture inside a mask's box; what is not in the mask is white."""
    x, y, width, height = thing.box_xywh.astype(int).tolist()
    part = np.s_[y : y + height + 1, x : x + width + 1]
    return np.where(thing.mask[part][..., None], image[part], np.uint8(255))


def _need_masks(found: Sequence[Found]) -> None:
    if not found:
        raise PromptError("there is no mask to choose from", hint="lower pred_iou_thresh of the sampler")
