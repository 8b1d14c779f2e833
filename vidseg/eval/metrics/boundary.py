"""F, the boundary measure: how well the outlines of two masks agree, within a tolerance.

After D. Martin's benchmark as davis2017-evaluation uses it (davis2017/metrics.py, `f_measure`, `_seg2bmap`).
Only the pixels of the outlines are looked at, and only with integers, so that F is exact at any frame size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_] | npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

TOLERANCE = 0.008
"""Share of the frame's diagonal by which outlines may miss each other."""


def boundary_radius(size_hw: tuple[int, int], tolerance: float = TOLERANCE) -> int:
    """How far outlines may be apart, in pixels: 8 for 480 x 854. A tolerance of 1 or more is the radius."""
    return math.ceil(tolerance if tolerance >= 1 else tolerance * math.hypot(*size_hw))


@dataclass(frozen=True, eq=False)
class Outline:
    """The boundary pixels of one object, in rising order of row, then column."""

    rows: Ints
    cols: Ints
    EMPTY: ClassVar[Outline]

    def __len__(self) -> int:
        return len(self.rows)


Outline.EMPTY = Outline(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Disk:
    """The pixels within reach of one, row by row: (dy, first dx, last dx), nearest rows first."""

    rows: tuple[tuple[int, int, int], ...]
    reach: int
    """No offset is larger than this."""


@lru_cache(maxsize=256)
def disk(radius: float) -> Disk:
    """The offsets that `cv2.dilate(outline, skimage.morphology.disk(radius))` uses.

    For an integer radius these are all offsets with dx*dx + dy*dy <= radius*radius. Any other radius is
    sampled at -radius, -radius + 1, ..., with the middle sample taken for 0: such a disk is off its centre.
    """
    samples = np.arange(-radius, radius + 1)
    inside = samples[:, None] ** 2 + samples[None, :] ** 2 <= radius**2
    anchor = len(samples) // 2
    rows = []
    for dy, row in zip(range(-anchor, len(samples) - anchor), inside, strict=True):
        kept = np.flatnonzero(row)
        if len(kept):
            rows.append((dy, int(kept[0]) - anchor, int(kept[-1]) - anchor))
    if not rows:  # OpenCV takes a kernel without elements for one with its first element alone
        rows = [(-anchor, -anchor, -anchor)]
    return Disk(tuple(sorted(rows, key=lambda row: abs(row[0]))), anchor + 1)


def f_scores(
    truths: Sequence[Outline], predictions: Sequence[Outline], reach: Disk, size_hw: tuple[int, int]
) -> list[float]:
    """F of each pair of a true and a predicted outline.

    Both empty: 1; one of them: 0.

    Args:
        reach: the pixels at which a boundary pixel still counts as met.
        size_hw: the frame that the outlines' pixels are counted in.
    """
    both = [i for i, (t, p) in enumerate(zip(truths, predictions, strict=True)) if len(t) and len(p)]
    some_truths, some_predictions = [truths[i] for i in both], [predictions[i] for i in both]
    met_predictions = _count_met(some_predictions, some_truths, reach, size_hw)
    met_truths = _count_met(some_truths, some_predictions, reach, size_hw)
    scores = [float(len(t) == len(p)) for t, p in zip(truths, predictions, strict=True)]
    for i, met_prediction, met_truth in zip(both, met_predictions, met_truths, strict=True):
        precision = met_prediction / len(predictions[i])
        recall = met_truth / len(truths[i])
        total = precision + recall
        scores[i] = 2 * precision * recall / total if total else 0.0
    return scores


def _count_met(
    outlines: Sequence[Outline], others: Sequence[Outline], reach: Disk, size_hw: tuple[int, int]
) -> list[int]:
    """How many pixels of each outline have a pixel of its counterpart among `others` within reach.

    Every pixel becomes a number, pair by pair and row by row, with room between rows and pairs for the
    disk. Whether one row of the disk around a pixel holds another outline's pixel is then one look-up in a
    sorted list, for the pixels of all pairs at once; those that have met one drop out.
    """
    if not outlines:
        return []
    stride = size_hw[1] + reach.reach
    room = (size_hw[0] + reach.reach) * stride
    waiting = _keys(outlines, stride, room)
    targets = _keys(others, stride, room)
    ordered = np.append(targets, np.iinfo(np.int64).max)
    far = np.zeros(len(outlines), np.int64)  # pixels that nothing is near, by pair
    for count, (dy, first_dx, last_dx) in enumerate(reach.rows):
        if not len(waiting):
            break
        if count == 1 and len(waiting) > len(targets) // 4:  # then many are likely far from any target
            is_near = _are_near(waiting, targets, stride, reach.reach)
            far = _by_pair(waiting[~is_near], len(outlines), room)
            waiting = waiting[is_near]
        first = waiting + (dy * stride + first_dx)
        nearest = ordered[ordered.searchsorted(first)]
        waiting = waiting[nearest > first + (last_dx - first_dx)]
    unmet = far + _by_pair(waiting, len(outlines), room)
    return [len(outline) - int(count) for outline, count in zip(outlines, unmet, strict=True)]


def _by_pair(keys: Ints, num_pairs: int, room: int) -> Ints:
    return np.diff(keys.searchsorted(np.arange(num_pairs + 1) * room))


def _are_near(keys: Ints, targets: Ints, stride: int, reach: int) -> npt.NDArray[np.bool_]:
    """Whether any target is in the square cell of a pixel or in one of the eight around it.

    Cells are as wide as the disk reaches, so that a pixel of which this is false has no target within reach.
    """
    key_rows, key_cols = np.divmod(keys, stride)
    rows, cols = np.divmod(targets, stride)
    height = max(int(key_rows[-1]), int(rows[-1])) // reach + 3 if len(keys) else 3
    cells = np.zeros((height, stride // reach + 3), np.bool_)
    cells[rows // reach + 1, cols // reach + 1] = True
    cells[:, 1:-1] |= cells[:, :-2] | cells[:, 2:]
    cells[1:-1] |= cells[:-2] | cells[2:]
    return cells[key_rows // reach + 1, key_cols // reach + 1]


def _keys(outlines: Sequence[Outline], stride: int, room: int) -> Ints:
    return np.concatenate([o.rows * stride + (o.cols + i * room) for i, o in enumerate(outlines)])
