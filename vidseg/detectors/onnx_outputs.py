"""Reads the outputs of detection networks: boxes, classes and scores, whatever their form.

one output  1 x (4 + K) x N       YOLOv8 and later: centre, size, a score for each class
            1 x N x (5 + K)       YOLOv5 to 7: the same with an objectness score before the classes
            1 x N x 6             networks that drop repeated boxes themselves: corners, score, class
logits, pred_boxes                DETR: class logits, and centre and size as shares of the input
labels, boxes, scores             RT-DETR's own export: corners in pixels of the frame
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.errors import InputError

END_TO_END_WIDTH = 6


@dataclass(frozen=True)
class Boxes:
    """The boxes of one picture."""

    xyxy_n4: npt.NDArray[np.float64]
    """Corners in pixels of the network's input, unless `are_of_frame`."""
    classes_n: npt.NDArray[np.intp]
    scores_n: npt.NDArray[np.float64]
    may_repeat: bool = False
    """Whether one thing may have several boxes."""
    are_of_frame: bool = False

    def at_least(self, score: float) -> Boxes:
        return self.rows(np.flatnonzero(self.scores_n >= score))

    def rows(self, index: npt.NDArray[np.intp]) -> Boxes:
        return replace(
            self,
            xyxy_n4=self.xyxy_n4[index],
            classes_n=self.classes_n[index],
            scores_n=self.scores_n[index],
        )


def read_outputs(
    outputs: Mapping[str, Any],
    *,
    activation: str,
    input_hw: tuple[int, int],
    num_classes: int | None,
    where: str,
) -> Boxes:
    """The boxes in the outputs of a network.

    Args:
        outputs: name -> array, with a batch of 1.
        activation: 'softmax' or 'sigmoid', of DETR's logits.
        num_classes: K, if it is known, by which YOLO's older form is told from its newer one.

    Raises:
        InputError: they have none of the known forms.
    """
    named = {name.lower(): np.asarray(value, np.float64)[0] for name, value in outputs.items()}
    if {"labels", "boxes", "scores"} <= set(named):
        corners, classes = named["boxes"].reshape(-1, 4), named["labels"].reshape(-1).astype(np.intp)
        return Boxes(corners, classes, named["scores"].reshape(-1), are_of_frame=True)
    if {"logits", "pred_boxes"} <= set(named):
        return _detr(named["logits"], named["pred_boxes"], activation, input_hw)
    if len(named) == 1:
        (rows,) = named.values()
        if rows.ndim == 2:
            return _yolo(rows, num_classes)
    shapes = ", ".join(f"{name} {list(np.shape(value))}" for name, value in outputs.items())
    raise InputError(
        f"the outputs of the detector '{where}' are of no known form: {shapes}",
        hint="YOLO (one output), DETR (logits, pred_boxes) or RT-DETR (labels, boxes, scores)",
    )


def _detr(
    logits: npt.NDArray[np.float64],
    boxes: npt.NDArray[np.float64],
    activation: str,
    input_hw: tuple[int, int],
) -> Boxes:
    if activation == "softmax":
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        scores = (powers / powers.sum(-1, keepdims=True))[:, :-1]  # the last class is "nothing"
    else:
        scores = 1 / (1 + np.exp(-logits))
    height, width = input_hw
    corners = _corners(boxes) * np.array([width, height, width, height])
    return Boxes(corners, scores.argmax(-1), scores.max(-1))


def _yolo(rows: npt.NDArray[np.float64], num_classes: int | None) -> Boxes:
    if rows.shape[1] == END_TO_END_WIDTH and num_classes != 2 and num_classes != 1:
        return Boxes(rows[:, :4], rows[:, 5].astype(np.intp), rows[:, 4])
    has_objectness = rows.shape[1] < rows.shape[0]
    if num_classes is not None:
        has_objectness = rows.shape[1] == 5 + num_classes
    if has_objectness:
        scores = rows[:, 5:] * rows[:, 4:5]
    else:
        rows = rows.T
        scores = rows[:, 4:]
    return Boxes(_corners(rows[:, :4]), scores.argmax(-1), scores.max(-1), may_repeat=True)


def _corners(centre_size: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    centre, half = centre_size[:, :2], centre_size[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)
