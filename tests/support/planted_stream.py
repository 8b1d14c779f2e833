"""A made stream in which planted objects come and go, and a session that follows them exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.trackers.contract import Frame, FrameResult

SIZE_HW = (48, 64)
LIFE = 40
"""Frames for which an object of `scene` is in the picture."""


def scene(index: int) -> npt.NDArray[np.int64]:
    """A label map in which every 20 frames an object comes, wanders to the right, and goes."""
    labels = np.zeros(SIZE_HW, int)
    for number in range(index // 20 + 1):
        age = index - 20 * number
        if 0 <= age < LIFE:
            top, left = 4 + 22 * (number % 2), 2 + age
            labels[top : top + 16, left : left + 16] = number + 1
    return labels


class OracleSession:
    """Follows whatever object of the label map a mask, or a box, was mostly on."""

    def __init__(self) -> None:
        self.follows: dict[int, int] = {}
        self.labels = np.zeros(SIZE_HW, int)
        self.last: Frame | None = None

    @property
    def obj_ids(self) -> list[int]:
        return list(self.follows)

    def step(self, frame: Frame) -> FrameResult:
        self.labels, self.last = scene(frame.index), frame
        return self._result()

    def refine(self, obj_id: int, *, mask: Any = None, box: Any = None) -> FrameResult:
        if mask is None:
            x0, y0, x1, y1 = (round(value) for value in box)
            mask = np.zeros(SIZE_HW, bool)
            mask[y0:y1, x0:x1] = True
        self.follows[obj_id] = int(np.bincount(self.labels[mask]).argmax())
        return self._result()

    def remove(self, obj_id: int) -> None:
        del self.follows[obj_id]

    def _result(self) -> FrameResult:
        assert self.last is not None
        masks = [
            self.labels == label if label else np.zeros(SIZE_HW, bool) for label in self.follows.values()
        ]
        logits = np.where(np.array(masks).reshape(-1, *SIZE_HW), 9, -9).astype(np.float32)
        return FrameResult(
            frame_idx=self.last.index,
            pts_seconds=0.0,
            size_hw=SIZE_HW,
            obj_ids=self.obj_ids,
            low_res_logits=logits,
            object_score_logits=np.ones(len(masks), np.float32),
            predicted_ious=np.ones(len(masks), np.float32),
            states=["visible" if mask.any() else "absent" for mask in masks],
            to_video_res=lambda logits, size_hw: logits,
        )


def frame_of(index: int) -> Frame:
    return Frame(index, index / 25, np.zeros((*SIZE_HW, 3), np.uint8))
