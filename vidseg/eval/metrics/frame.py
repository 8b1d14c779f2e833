"""Ground truth and prediction of one frame: J and F of every object, in one pass over the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.eval.metrics.boundary import Disk, Outline, boundary_radius, disk, f_scores

LabelMap = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Places = npt.NDArray[np.intp]


class FramePair:
    """The label maps of one frame: `truth` and `prediction`, uint8 H x W, value = object id.

    An id that is not in a label map is an empty mask. Everything is measured inside the box around the
    objects of both maps. Pixels are visited once; runs that are the same in both maps are skipped.

    Raises:
        ValueError: the label maps differ in size.
    """

    def __init__(self, truth: LabelMap, prediction: LabelMap) -> None:
        if truth.shape != prediction.shape:
            raise ValueError(f"label maps of {truth.shape} and {prediction.shape}")
        self.size_hw: tuple[int, int] = (truth.shape[0], truth.shape[1])
        # Both ids of a pixel become one number, in four bits each if they fit: fewer bytes to read.
        has_few = max(truth.max(), prediction.max()) < 16
        self._scale = np.uint8(16) if has_few else np.uint16(256)
        both: Labels = truth * self._scale
        both += prediction
        box = _box_of_objects(both)
        self._box_hw: tuple[int, int] = (box[0].stop - box[0].start, box[1].stop - box[1].start)
        # The last column and row are repeated, so that neighbours have the same distance in the flat array at
        # the frame's edges, too.
        self._both: Labels = cv2.copyMakeBorder(both[box], 0, 1, 0, 1, cv2.BORDER_REPLICATE).ravel()
        self._stride = self._box_hw[1] + 1
        self._find_edges()

    @property
    def truth_ids(self) -> list[int]:
        """The ids of the objects in the ground truth, in rising order."""
        return _ids(self._truth_areas)

    @property
    def prediction_ids(self) -> list[int]:
        """The ids of the objects in the prediction, in rising order."""
        return _ids(self._prediction_areas)

    def truth_area(self, obj_id: int) -> int:
        """Pixels of an object in the ground truth."""
        return int(self._truth_areas[obj_id]) if obj_id < len(self._truth_areas) else 0

    def overlap(self, truth_id: int, prediction_id: int) -> tuple[int, int]:
        """Pixels in the intersection and in the union of a true and a predicted object."""
        in_truth, in_prediction = (
            truth_id < len(self._truth_areas),
            prediction_id < len(self._prediction_areas),
        )
        both = int(self._overlaps[truth_id, prediction_id]) if in_truth and in_prediction else 0
        area = int(self._prediction_areas[prediction_id]) if in_prediction else 0
        return both, self.truth_area(truth_id) + area - both

    def j(self, ids: Iterable[int]) -> list[float]:
        """J of each object, intersection over union; 1 if both masks are empty."""
        pairs = (self.overlap(i, i) for i in ids)
        return [both / union if union else 1.0 for both, union in pairs]

    def f(self, ids: Sequence[int], reach: Disk | None = None) -> list[float]:
        """F of each object, with the tolerance of DAVIS unless another disk is given."""
        return self.f_of_pairs(self.truth_outlines(ids), self.prediction_outlines(ids), reach)

    def f_of_pairs(
        self, truths: Sequence[Outline], predictions: Sequence[Outline], reach: Disk | None = None
    ) -> list[float]:
        """F of any true objects against any predicted ones, pair by pair."""
        reach = reach or disk(boundary_radius(self.size_hw))
        return f_scores(truths, predictions, reach)

    def truth_outlines(self, ids: Sequence[int]) -> list[Outline]:
        """The outlines of true objects, in pixels of the box around all objects.

        A pixel is on an object's outline when it is of the object and its right, lower or lower-right
        neighbour is not, or the other way round. What lies outside of the frame is no neighbour.
        """
        return self._outlines(self._corners // self._scale, ids, self._truth_areas)

    def prediction_outlines(self, ids: Sequence[int]) -> list[Outline]:
        """The outlines of predicted objects."""
        return self._outlines(self._corners % self._scale, ids, self._prediction_areas)

    def _find_edges(self) -> None:
        """Find where ids change, and the ids there, which is all that is needed to measure anything."""
        both, stride = self._both, self._stride
        differs_right = both[:-1] != both[1:]
        inner = stride * self._box_hw[0]  # without the repeated row
        differs = both[: inner - 1] != both[stride:-1]
        differs |= differs_right[: inner - 1]
        differs |= differs_right[stride:]
        places = np.flatnonzero(differs)
        self._run_ends = places[differs_right[places]]
        rows = places // stride
        cols = places - rows * stride
        is_pixel = cols < stride - 1
        self._rows, self._cols, places = rows[is_pixel], cols[is_pixel], places[is_pixel]
        self._corners: Labels = both[places + np.array([[0], [1], [stride], [stride + 1]])]

    def _outlines(self, corners: Labels, ids: Sequence[int], areas: Places) -> list[Outline]:
        first, right, below, across = corners
        is_mixed = (first != right) | (first != below) | (first != across)
        found = []
        for obj_id in ids:
            if obj_id < len(areas) and areas[obj_id]:
                is_its = corners == obj_id
                on = np.flatnonzero((is_its[0] | is_its[1] | is_its[2] | is_its[3]) & is_mixed)
                found.append(Outline(self._rows[on], self._cols[on]))
            else:
                found.append(Outline.EMPTY)
        return found

    @cached_property
    def _overlaps(self) -> npt.NDArray[np.int64]:
        """Pixels by true id (row) and predicted id (column); background is counted only within the box."""
        last = self._stride * self._box_hw[0] - 1
        ends = np.append(self._run_ends, last)
        lengths = np.diff(ends, prepend=-1)
        twice = self._both[self._stride - 1 : last + 1 : self._stride]  # the repeated column
        # float64 counts exactly up to 2**53 pixels.
        side = int(self._scale)
        counts = np.bincount(self._both[ends], lengths, side**2)
        counts -= np.bincount(twice, minlength=side**2)
        return counts.astype(np.int64).reshape(side, side)

    @cached_property
    def _truth_areas(self) -> npt.NDArray[np.int64]:
        return self._overlaps.sum(1)

    @cached_property
    def _prediction_areas(self) -> npt.NDArray[np.int64]:
        return self._overlaps.sum(0)


def _ids(areas: npt.NDArray[np.int64]) -> list[int]:
    return [int(i) for i in np.flatnonzero(areas[1:]) + 1]


def _box_of_objects(both: Labels) -> tuple[slice, slice]:
    """Rows and columns of everything that is not background, and one pixel around them."""
    # OpenCV finds boxes in arrays of bytes only.
    left, top, width, height = cv2.boundingRect(
        both if both.dtype == np.uint8 else (both > 0).astype(np.uint8)
    )
    if not width:
        return slice(0, 1), slice(0, 1)
    frame_h, frame_w = both.shape
    return (
        slice(max(top - 1, 0), min(top + height + 1, frame_h)),
        slice(max(left - 1, 0), min(left + width + 1, frame_w)),
    )
