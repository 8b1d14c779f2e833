"""F, the boundary measure: how well the outlines of two masks agree, within a tolerance.

It follows D. Martin's benchmark as davis2017-evaluation uses it (davis2017/metrics.py, `f_measure`,
`_seg2bmap`). Only pixels of outlines are visited, and only integers are used, so that F is exact at any frame
size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_] | npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

TOLERANCE = 0.008
"""How far outlines may be apart, as a share of the frame's diagonal."""
SHEET_PIXELS, LOOK_UPS = 1 << 20, 1 << 17
"""How many pixels, and how many look-ups, are handled at a time; bounds memory for many or large objects."""


def boundary_radius(size_hw: tuple[int, int], tolerance: float = TOLERANCE) -> int:
    """How far outlines may be apart, in pixels: 8 for 480 x 854.

    A tolerance of 1 or more is the radius itself.
    """
    return math.ceil(tolerance if tolerance >= 1 else tolerance * math.hypot(*size_hw))


@dataclass(frozen=True, eq=False)
class Outline:
    """The boundary pixels of one object, in rising order of row, then of column."""

    rows: Ints
    cols: Ints
    EMPTY: ClassVar[Outline]

    def __len__(self) -> int:
        return len(self.rows)


Outline.EMPTY = Outline(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Disk:
    """The pixels within reach of one pixel, as a union of few rectangles."""

    corners: Ints
    """Rectangles as offsets from the pixel: (row, column) x (first, past the last) x rectangles.

    The largest one comes first, then the one around all of them, then the others by size.
    """
    reach: int
    """The largest offset."""


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
    if not rows:  # OpenCV treats an empty kernel as one with its first element
        rows = [(-anchor, -anchor, -anchor)]
    # Rows get narrower outwards, so all rows at least as wide as a given one lie next to each other.
    rectangles = []
    for left, right in {row[1:] for row in rows}:
        as_wide = [dy for dy, first, last in rows if first <= left and last >= right]
        rectangles.append(((min(as_wide), max(as_wide) + 1), (left, right + 1)))
    largest, *others = sorted(rectangles, key=lambda r: (r[0][0] - r[0][1]) * (r[1][1] - r[1][0]))
    around = tuple((min(r[i][0] for r in rectangles), max(r[i][1] for r in rectangles)) for i in (0, 1))
    return Disk(np.moveaxis(np.array([largest, around, *others]), 0, -1), anchor + 1)


def f_scores(truths: Sequence[Outline], predictions: Sequence[Outline], reach: Disk) -> list[float]:
    """F of each pair of a true and a predicted outline: 1 if both are empty, 0 if one is.

    Args:
        reach: the pixels around a boundary pixel in which it counts as met.
    """
    scores = [float(len(t) == len(p)) for t, p in zip(truths, predictions, strict=True)]
    both = [i for i, (t, p) in enumerate(zip(truths, predictions, strict=True)) if len(t) and len(p)]
    for some in _sheets(both, truths, predictions, reach):
        met_truths, met_predictions = some.count_met()
        for i, met_truth, met_prediction in zip(some.pairs, met_truths, met_predictions, strict=True):
            precision = met_prediction / len(predictions[i])
            recall = met_truth / len(truths[i])
            total = precision + recall
            scores[i] = 2 * precision * recall / total if total else 0.0
    return scores


def _sheets(
    pairs: Sequence[int], truths: Sequence[Outline], predictions: Sequence[Outline], reach: Disk
) -> Iterator[_Sheet]:
    """The pairs in groups: each as large as fits on a sheet, but at least one pair."""
    sheet = _Sheet(reach)
    for i in pairs:
        box = _box(truths[i], predictions[i])
        if sheet.pairs and sheet.size_with(box) > SHEET_PIXELS:
            yield sheet
            sheet = _Sheet(reach)
        sheet.add(i, box, truths[i], predictions[i])
    if sheet.pairs:
        yield sheet


class _Box(NamedTuple):
    top: int
    left: int
    height: int
    width: int


def _box(one: Outline, other: Outline) -> _Box:
    """The box around two outlines."""
    top, bottom = min(one.rows[0], other.rows[0]), max(one.rows[-1], other.rows[-1])
    left, right = min(one.cols.min(), other.cols.min()), max(one.cols.max(), other.cols.max())
    return _Box(int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)


class _Sheet:
    """Pairs of outlines, one below the other, with room between them for the disk.

    A table of sums (Crow, SIGGRAPH 1984) over a sheet tells with four look-ups how many outline pixels lie in
    a rectangle around a pixel, for the pixels of all pairs at once.
    """

    def __init__(self, reach: Disk) -> None:
        self.reach = reach
        self.pairs: list[int] = []
        self._width = 0
        self._height = reach.reach
        self._tops: list[int] = []
        self._boxes: list[_Box] = []
        self._outlines: tuple[list[Outline], list[Outline]] = ([], [])

    def size_with(self, box: _Box) -> int:
        """Pixels of the sheet if one more pair is added."""
        height = self._height + box.height + self.reach.reach
        return height * (max(self._width, box.width) + 2 * self.reach.reach)

    def add(self, pair: int, box: _Box, truth: Outline, prediction: Outline) -> None:
        self.pairs.append(pair)
        self._tops.append(self._height)
        self._boxes.append(box)
        self._width = max(self._width, box.width)
        self._height += box.height + self.reach.reach
        self._outlines[0].append(truth)
        self._outlines[1].append(prediction)

    def count_met(self) -> tuple[list[int], list[int]]:
        """How many pixels of each true outline are met by the predicted one, and the other way round."""
        stride = self._width + 2 * self.reach.reach + 1  # that of the table of sums, which has one more
        truths, predictions = (self._places(outlines, stride) for outlines in self._outlines)
        limits = np.array([*self._tops, self._height], np.int64) * stride

        def count(outline: Ints, other: Ints) -> list[int]:
            met = outline[self._met(outline, self._sums(other, stride), stride)]
            counts: list[int] = np.diff(met.searchsorted(limits)).tolist()
            return counts

        return count(truths, predictions), count(predictions, truths)

    def _places(self, outlines: Sequence[Outline], stride: int) -> Ints:
        """Numbers of the outlines' pixels on the sheet, in rising order."""
        reach = self.reach.reach
        return np.concatenate(
            [
                outline.rows * stride + (outline.cols + ((top - box.top) * stride + reach - box.left))
                for outline, top, box in zip(outlines, self._tops, self._boxes, strict=True)
            ]
        )

    def _sums(self, places: Ints, stride: int) -> npt.NDArray[np.int32]:
        """For each pixel, how many outline pixels lie above and to the left of it."""
        sheet = np.zeros((self._height, stride), np.uint8)
        sheet.ravel()[places] = 1
        sums: npt.NDArray[np.int32] = cv2.integral(sheet[:, :-1]).ravel()
        return sums

    def _met(self, places: Ints, sums: npt.NDArray[np.int32], stride: int) -> npt.NDArray[np.bool_]:
        """Whether each pixel has a pixel of the summed outlines within reach."""
        # The largest rectangle finds most pixels that are met, the one around all excludes most others.
        is_met: npt.NDArray[np.bool_] = _has_any(self.reach.corners[:, :, :1], places, sums, stride)[0]
        waiting = np.flatnonzero(~is_met)
        waiting = waiting[_has_any(self.reach.corners[:, :, 1:2], places[waiting], sums, stride)[0]]
        at, num_rectangles = 2, self.reach.corners.shape[2]
        while at < num_rectangles and len(waiting):
            to = at + max(1, LOOK_UPS // len(waiting))
            has_any = _has_any(self.reach.corners[:, :, at:to], places[waiting], sums, stride).any(0)
            is_met[waiting[has_any]] = True
            waiting, at = waiting[~has_any], to
        return is_met


def _has_any(corners: Ints, places: Ints, sums: npt.NDArray[np.int32], stride: int) -> npt.NDArray[np.bool_]:
    """Rectangles x places: whether the rectangle around the place holds any pixel.

    Args:
        corners: (row, column) x (first, past the last) x rectangles.
    """
    rows, cols = corners
    offsets = rows[:, None] * stride + cols[None]  # top, bottom x left, right x rectangles
    counts = sums.take(offsets[..., None] + places)
    has_any: npt.NDArray[np.bool_] = counts[0, 0] + counts[1, 1] != counts[0, 1] + counts[1, 0]
    return has_any
