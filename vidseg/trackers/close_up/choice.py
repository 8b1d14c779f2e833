"""Which part of the next frame is looked at: what is around the objects, as they were last seen.

Lengths and areas are shares of the picture's width and height, and of its area.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from vidseg.masks import tight_box
from vidseg.trackers.contract import Prompt
from vidseg.trackers.view import View

AROUND = 1.25
"""An object's width and height times this are what is looked at."""
LEAST_AROUND = 0.1
"""The part stays while so much of an object's width and height is left on each of its sides."""
ALIKE = 1.3
"""The part stays while it is at most this many times as large or small as it would be chosen anew."""
LEAST_SHARE, LEAST_PIXELS = 0.25, 64
"""The least that is looked at: of the picture's width and height, and in pixels."""
LARGEST_SHARE = 0.95
"""A closer look at more than this would be none."""
KEPT = 0.95
"""An object's size follows its mask up at once, but down to no less than so much of it a frame: half hidden
it is as large as before."""
WIDENING = 0.5
"""The less is seen of an object, the further it may have gone: by this power of the area that is missing the
part grows."""
MOST_WIDENING = 3.0
"""The part grows by at most this factor."""

Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge."""
Sizes = dict[int, tuple[float, float, float]]
"""Object id -> its width, height and area."""


def view_after(masks: Mapping[int, Mask], seen: View, sizes: Sizes) -> tuple[View, Sizes]:
    """The view for the next frame, and how large objects are by now.

    Args:
        masks: of each object on the frame before, on a grid over `seen`.
        sizes: before that frame.

    Returns:
        The whole picture if there is no object, or one of them is not in sight: it may return anywhere.
    """
    sizes = {obj_id: sizes[obj_id] for obj_id in masks if obj_id in sizes}
    if not masks or not all(mask.any() for mask in masks.values()):
        return View.whole(seen.size_hw), sizes
    wanted, needed = [], []
    for obj_id, mask in masks.items():
        box, area = _box(mask, seen), float(mask.mean()) * _area(seen)
        width, height, full = (KEPT * length for length in sizes.get(obj_id, (0.0, 0.0, 0.0)))
        width, height, full = max(box[2] - box[0], width), max(box[3] - box[1], height), max(area, full)
        sizes[obj_id] = (width, height, full)
        far = AROUND * min((full / area) ** WIDENING, MOST_WIDENING) / 2
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        wanted.append((x - far * width, y - far * height, x + far * width, y + far * height))
        needed.append(_grown(box, LEAST_AROUND * width, LEAST_AROUND * height))
    chosen = _view(_union(wanted), seen.size_hw)
    return (seen if chosen.is_alike(seen, ALIKE) and _holds(seen, _union(needed)) else chosen), sizes


def view_of(prompts: Iterable[Prompt], size_hw: tuple[int, int]) -> View:
    """The view for a frame on which all objects are new: around their masks.

    Returns:
        The whole picture if a prompt is no mask: it is answered as it is in a picture by itself.
    """
    whole = View.whole(size_hw)
    share = (AROUND - 1) / 2
    wanted = []
    for prompt in prompts:
        if prompt.mask is None:
            return whole
        box = _box(prompt.mask, whole)
        wanted.append(_grown(box, share * (box[2] - box[0]), share * (box[3] - box[1])))
    return _view(_union(wanted), size_hw) if wanted else whole


def _box(mask: Mask, seen: View) -> Box:
    """The box around a mask on a grid over a view, which must not be empty."""
    height, width = mask.shape
    x0, y0, x1, y1 = tight_box(mask)
    (full_h, full_w), (part_h, part_w) = seen.size_hw, seen.part_hw
    x, y = part_w / width / full_w, part_h / height / full_h
    left, top = seen.left / full_w, seen.top / full_h
    return left + x * x0, top + y * y0, left + x * x1, top + y * y1


def _area(view: View) -> float:
    """The share of the picture that a view shows."""
    return view.part_hw[0] * view.part_hw[1] / (view.size_hw[0] * view.size_hw[1])


def _grown(box: Box, x: float, y: float) -> Box:
    return box[0] - x, box[1] - y, box[2] + x, box[3] + y


def _union(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _view(wanted: Box, size_hw: tuple[int, int]) -> View:
    """The view of the picture's own shape that shows a box, in its middle where that is possible."""
    height, width = size_hw
    share = max(wanted[2] - wanted[0], wanted[3] - wanted[1], LEAST_SHARE, LEAST_PIXELS / min(size_hw))
    if share >= LARGEST_SHARE:
        return View.whole(size_hw)
    left, top = (
        min(max((low + high - share) / 2, 0), 1 - share) for low, high in (wanted[0::2], wanted[1::2])
    )
    part_h, part_w = round(share * height), round(share * width)
    x, y = min(round(left * width), width - part_w), min(round(top * height), height - part_h)
    return View(x, y, x + part_w, y + part_h, size_hw)


def _holds(view: View, needed: Box) -> bool:
    """Whether a view shows all of a box, as far as the picture does."""
    height, width = view.size_hw
    low = view.left <= max(needed[0], 0) * width and view.top <= max(needed[1], 0) * height
    return low and view.right >= min(needed[2], 1) * width and view.bottom >= min(needed[3], 1) * height
