"""What a tracker says of one frame.

Layouts in shapes: N objects · H W video size · h w the mask decoder's own grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vidseg.errors import MissingExtraError
from vidseg.trackers.label_map import hidden_pixels, mask_boxes, paint_label_map

if TYPE_CHECKING:
    import numpy.typing as npt

    BoolArray = npt.NDArray[np.bool_]
    FloatArray = npt.NDArray[np.float32]

ObjectState = Literal["visible", "uncertain", "absent"]


class FrameResult:
    """What a session says of one frame, for all its objects at once.

    Video-resolution arrays are made when they are first asked for, and kept with the result.
    """

    def __init__(
        self,
        *,
        frame_idx: int,
        pts_seconds: float,
        size_hw: tuple[int, int],
        obj_ids: Sequence[int],
        low_res_logits: FloatArray,
        object_score_logits: FloatArray,
        predicted_ious: FloatArray,
        states: Sequence[ObjectState],
        to_video_res: Callable[[FloatArray, tuple[int, int]], FloatArray],
        object_pointers: FloatArray | None = None,
    ) -> None:
        self.frame_idx = frame_idx
        self.pts_seconds = pts_seconds
        self.size_hw = size_hw
        self.obj_ids = list(obj_ids)
        self.low_res_logits = low_res_logits
        """float32 (N, h, w): mask logits (before sigmoid) on the mask decoder's own grid."""
        self.object_score_logits = object_score_logits
        """float32 (N,): above 0 the object is judged visible."""
        self.predicted_ious = predicted_ious
        """float32 (N,): the tracker's own estimate of its masks' quality, 0 to 1."""
        self.states = list(states)
        """(N,): 'visible', 'uncertain' or 'absent'."""
        self.object_pointers = object_pointers
        """float32 (N, C) for trackers that have them."""
        self._to_video_res = to_video_res
        self._video_res_logits: FloatArray | None = None
        self._masks: BoolArray | None = None

    @property
    def video_res_logits(self) -> FloatArray:
        """float32 (N, H, W): mask logits at the video's size."""
        if self._video_res_logits is None:
            self._video_res_logits = self._to_video_res(self.low_res_logits, self.size_hw)
        return self._video_res_logits

    @property
    def has_video_res(self) -> bool:
        """Whether anybody has asked for arrays at the video's size yet."""
        return self._video_res_logits is not None

    @property
    def masks(self) -> BoolArray:
        """bool (N, H, W) at the video's size; objects may overlap."""
        if self._masks is None:
            self._masks = self.video_res_logits > 0
        return self._masks

    @property
    def scores(self) -> FloatArray:
        """float32 (N,), 0 to 1: predicted IoU times the probability that the object is visible."""
        visible = 1 / (1 + np.exp(-np.clip(self.object_score_logits, -50, 50)))
        scores = np.nan_to_num(np.clip(self.predicted_ious, 0, 1) * visible, nan=0.0)
        return scores.astype(np.float32)

    def label_map(self) -> npt.NDArray[np.int32]:
        """int32 (H, W): the object id of each pixel, 0 for background.

        Where objects overlap, the one with the highest logit has the pixel, as in SAM 2's own exporter; see
        `vidseg.trackers.label_map`.
        """
        boxes = mask_boxes(self.masks)
        hidden = hidden_pixels(self.masks, self.video_res_logits, boxes)
        return paint_label_map(self.obj_ids, self.masks, boxes, hidden)

    def to_supervision(self) -> Any:
        """The objects in sight as `supervision.Detections`; `tracker_id` is the object's id.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise MissingExtraError("supervision", "supervision", needed_for="to_supervision()") from None
        rows = [row for row, mask in enumerate(self.masks) if mask.any()]
        masks = self.masks[rows]
        boxes = np.zeros((len(rows), 4), np.float32)
        for box, mask in zip(boxes, masks, strict=True):
            ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box[:] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
        return supervision.Detections(
            xyxy=boxes,
            mask=masks,
            confidence=self.scores[rows],
            tracker_id=np.asarray(self.obj_ids, np.int64)[rows],
            metadata={"frame_idx": self.frame_idx, "pts_seconds": self.pts_seconds},
        )

    def __repr__(self) -> str:
        n, h, w = self.low_res_logits.shape
        return (
            f"FrameResult(frame_idx={self.frame_idx}, obj_ids={self.obj_ids}, states={self.states}, "
            f"masks=bool{(n, *self.size_hw)}, low_res_logits=float32{(n, h, w)})"
        )
