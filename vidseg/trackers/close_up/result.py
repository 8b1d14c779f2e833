"""Results of a part of the picture, as those of the whole picture."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from vidseg.trackers.result import FrameResult
from vidseg.trackers.view import OUTSIDE, View, seen_from

if TYPE_CHECKING:
    from vidseg.trackers.contract import FloatArray


class CloseUpResult(FrameResult):
    """A result on a part of the picture, with masks as fine as they were seen.

    Args:
        near: in pixels of the part.
        view: the part; not the whole picture.
    """

    def __init__(self, near: FrameResult, view: View) -> None:
        super().__init__(
            frame_idx=near.frame_idx,
            pts_seconds=near.pts_seconds,
            size_hw=view.size_hw,
            obj_ids=near.obj_ids,
            low_res_logits=near.low_res_logits,
            object_score_logits=near.object_score_logits,
            predicted_ious=near.predicted_ious,
            states=near.states,
            to_video_res=partial(_pasted, near, view),
            object_pointers=near.object_pointers,
            labels=near.labels,
        )
        self._near, self._view = near, view

    @cached_property
    def low_res_logits(self) -> FloatArray:
        """float32 (N, h, w): mask logits (before sigmoid), on a grid over the whole picture.

        They are made when they are first asked for, as masks are made from what was seen of the part.
        """
        logits, whole = torch.from_numpy(self._near.low_res_logits), View.whole(self._view.size_hw)
        return seen_from(self._view, logits, whole).numpy()

    def of_objects(self, obj_ids: Collection[int]) -> FrameResult:
        return CloseUpResult(self._near.of_objects(obj_ids), self._view)


def _pasted(near: FrameResult, view: View, *_: object) -> FloatArray:
    """Mask logits at the video's size; no method, as a result that held itself would be freed late."""
    logits = near.video_res_logits
    whole = np.full((len(logits), *view.size_hw), OUTSIDE, np.float32)
    rows, columns = view.pixels
    whole[:, rows, columns] = logits
    return whole
