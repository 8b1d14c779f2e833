"""Ground truth and prediction of one frame: J and F of every object, in one pass over the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.eval.metrics.boundary import Disk, Outline, boundary_radius, disk, f_scores, outlines

LabelMap = npt.NDArray[np.uint8]


class FramePair:
    """The label maps of one frame: `truth` and `prediction`, uint8 H x W, value = object id.

    Objects are named by their ids; an id that is not in a label map is an empty mask. Everything is measured
    inside the box around both maps' objects.

    Raises:
        ValueError: the label maps differ in size.
    """

    def __init__(self, truth: LabelMap, prediction: LabelMap) -> None:
        if truth.shape != prediction.shape:
            raise ValueError(f"label maps of {truth.shape} and {prediction.shape}")
        self.size_hw: tuple[int, int] = (truth.shape[0], truth.shape[1])
        box = _box_of_objects(truth, prediction)
        self._truth = np.ascontiguousarray(truth[box])
        self._prediction = np.ascontiguousarray(prediction[box])

    @property
    def truth_ids(self) -> list[int]:
        """The objects in the ground truth, in rising order."""
        return _ids(self._truth_areas)

    @property
    def prediction_ids(self) -> list[int]:
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
        """J of each object: intersection over union; 1 where both are empty."""
        pairs = (self.overlap(i, i) for i in ids)
        return [both / union if union else 1.0 for both, union in pairs]

    def f(self, ids: Sequence[int], reach: Disk | None = None) -> list[float]:
        """F of each object; with the tolerance of DAVIS, unless another disk is given."""
        return self.f_of_pairs(self.truth_outlines(ids), self.prediction_outlines(ids), reach)

    def f_of_pairs(
        self, truths: Sequence[Outline], predictions: Sequence[Outline], reach: Disk | None = None
    ) -> list[float]:
        """F of any true objects against any predicted ones, pair by pair."""
        reach = reach or disk(boundary_radius(self.size_hw))
        return f_scores(truths, predictions, reach, (self._truth.shape[0], self._truth.shape[1]))

    def truth_outlines(self, ids: Sequence[int]) -> list[Outline]:
        """Outlines, in pixels of the box around all objects."""
        return outlines(self._truth, ids)

    def prediction_outlines(self, ids: Sequence[int]) -> list[Outline]:
        return outlines(self._prediction, ids)

    @cached_property
    def _overlaps(self) -> npt.NDArray[np.int64]:
        """Pixels by true id (row) and predicted id (column), background only within the box.

        Counted by runs: most neighbours in a row are alike in both maps.
        """
        truth, prediction = self._truth, self._prediction
        ends = np.ones(truth.shape, np.bool_)
        np.not_equal(truth[:, :-1], truth[:, 1:], out=ends[:, :-1])
        ends[:, :-1] |= prediction[:, :-1] != prediction[:, 1:]
        places = np.flatnonzero(ends)
        true_ids, predicted_ids = truth.ravel()[places], prediction.ravel()[places]
        height, width = int(true_ids.max()) + 1, int(predicted_ids.max()) + 1
        lengths = np.diff(places, prepend=-1)
        cells = true_ids.astype(np.intp) * width + predicted_ids
        counts = np.bincount(cells, weights=lengths, minlength=height * width)  # exact up to 2**53 pixels
        return counts.astype(np.int64).reshape(height, width)

    @cached_property
    def _truth_areas(self) -> npt.NDArray[np.int64]:
        return self._overlaps.sum(1)

    @cached_property
    def _prediction_areas(self) -> npt.NDArray[np.int64]:
        return self._overlaps.sum(0)


def _ids(areas: npt.NDArray[np.int64]) -> list[int]:
    return [int(i) for i in np.flatnonzero(areas[1:]) + 1]


def _box_of_objects(truth: LabelMap, prediction: LabelMap) -> tuple[slice, slice]:
    """Rows and columns of everything that is not background, and one pixel around them."""
    boxes = [cv2.boundingRect(label_map) for label_map in (truth, prediction)]
    boxes = [box for box in boxes if box[2]]
    if not boxes:
        return slice(0, 1), slice(0, 1)
    left, top = min(x for x, *_ in boxes), min(y for _, y, *_ in boxes)
    right, bottom = max(x + w for x, _, w, _ in boxes), max(y + h for _, y, _, h in boxes)
    return slice(max(top - 1, 0), bottom + 1), slice(max(left - 1, 0), right + 1)
