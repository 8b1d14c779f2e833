"""The result of a tracker on one frame.

Layouts in shapes: N objects · H W video size · h w the mask decoder's own grid.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Collection, Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vidseg.errors import InputError, MissingExtraError
from vidseg.trackers.label_map import hidden_pixels, mask_boxes, paint_label_map

if TYPE_CHECKING:
    import numpy.typing as npt

    BoolArray = npt.NDArray[np.bool_]
    FloatArray = npt.NDArray[np.float32]

ObjectState = Literal["visible", "uncertain", "absent"]

DARK_GROUND = 32
"""The grey on which masks are painted if no picture is given."""
THUMBNAIL_SIDE = 480
"""Longer side, in pixels, of the picture that notebooks show."""


class FrameResult:
    """The result of a session on one frame, for all its objects.

    Arrays at the video's size are made when they are first asked for, and kept with the result.
    """

    is_coming = False
    """Whether a device still computes it; who asks for anything of it then waits."""

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
        labels: Sequence[str | None] | None = None,
        masks: BoolArray | None = None,
    ) -> None:
        self.frame_idx = frame_idx
        self.pts_seconds = pts_seconds
        self.size_hw = size_hw
        self.obj_ids = list(obj_ids)
        self._logits = low_res_logits
        self.object_score_logits = object_score_logits
        """float32 (N,): above 0 the object is judged visible."""
        self.predicted_ious = predicted_ious
        """float32 (N,): the tracker's own estimate of its masks' quality, 0 to 1."""
        self.states = list(states)
        """(N,): 'visible', 'uncertain' or 'absent', by the mask on the decoder's own grid. Files call an
        object absent, too, of whose mask `remove_speck_area` or `non_overlap_masks` left nothing."""
        self.object_pointers = object_pointers
        """float32 (N, C) from trackers that have them, else None."""
        self.labels = [None] * len(self.obj_ids) if labels is None else list(labels)
        """(N,): the label of each object, from `prompt(..., label=)`; None without one."""
        self._to_video_res = to_video_res
        self._video_res_logits: FloatArray | None = None
        self._masks = masks

    @property
    def low_res_logits(self) -> FloatArray:
        """float32 (N, h, w): mask logits (before sigmoid) on the mask decoder's own grid."""
        return self._logits

    @property
    def video_res_logits(self) -> FloatArray:
        """float32 (N, H, W): mask logits at the video's size."""
        if self._video_res_logits is None:
            self._video_res_logits = self._to_video_res(self._logits, self.size_hw)
        return self._video_res_logits

    @property
    def has_video_res(self) -> bool:
        """Whether arrays at the video's size have been made."""
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

    def of_objects(self, obj_ids: Collection[int]) -> FrameResult:
        """The result for some of the objects alone; arrays that were made already are not made again."""
        rows = [row for row, obj_id in enumerate(self.obj_ids) if obj_id in obj_ids]
        if len(rows) == len(self.obj_ids):
            return self
        some = FrameResult(
            frame_idx=self.frame_idx,
            pts_seconds=self.pts_seconds,
            size_hw=self.size_hw,
            obj_ids=[self.obj_ids[row] for row in rows],
            low_res_logits=self._logits[rows],
            object_score_logits=self.object_score_logits[rows],
            predicted_ious=self.predicted_ious[rows],
            states=[self.states[row] for row in rows],
            to_video_res=self._to_video_res,
            object_pointers=None if self.object_pointers is None else self.object_pointers[rows],
            labels=[self.labels[row] for row in rows],
        )
        if self._video_res_logits is not None:
            some._video_res_logits = self._video_res_logits[rows]
        if self._masks is not None:
            some._masks = self._masks[rows]
        return some

    def label_map(self) -> npt.NDArray[np.int32]:
        """int32 (H, W): the object id of each pixel, 0 for background.

        Where objects overlap, the one with the highest logit gets the pixel, as in SAM 2's exporter; see
        `vidseg.trackers.label_map`.
        """
        boxes = mask_boxes(self.masks)
        hidden = hidden_pixels(self.masks, lambda: self.video_res_logits, boxes)
        return paint_label_map(self.obj_ids, self.masks, boxes, hidden)

    @property
    def boxes(self) -> FloatArray:
        """float32 (N, 4): the tight box (x0, y0, x1, y1) around each mask, in pixels; all 0 if it is empty.

        Edges of pixels, as in prompts: the box of one pixel at the origin is (0, 0, 1, 1).
        """
        found = np.array(mask_boxes(self.masks), np.float32).reshape(-1, 4)
        found[:, 2:] += found[:, :2]
        return found

    def plot(self, image: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
        """The objects painted on a picture: see-through colours, outlines, ids and labels.

        Args:
            image: uint8 H x W x 3, RGB: the frame's own, as a rule; None for a dark ground.

        Returns:
            A new picture of the same size, to be shown by `PIL.Image.fromarray` or `plt.imshow`.

        Raises:
            InputError: a picture of another kind or size.
        """
        from vidseg.trackers.painting import Painter

        if image is None:
            image = np.full((*self.size_hw, 3), DARK_GROUND, np.uint8)
        if image.dtype != np.uint8 or image.shape != (*self.size_hw, 3):
            height, width = self.size_hw
            raise InputError(
                f"a picture of {image.dtype} and shape {image.shape} for a frame of {width}x{height}",
                hint=f"give uint8 {height} x {width} x 3, RGB: frame.image",
            )
        names = {obj_id: label or "" for obj_id, label in zip(self.obj_ids, self.labels, strict=True)}
        return Painter(names).paint(image, self.obj_ids, self.masks, mask_boxes(self.masks))

    def to_supervision(self) -> Any:
        """The objects in sight as `supervision.Detections`, which its annotators draw.

        `tracker_id` is the object's id and `data["class_name"]` its label ('object 3' without one). Objects
        of one label are of one class: `class_id` is the id of the first of them.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise MissingExtraError("supervision", "supervision", needed_for="to_supervision()") from None
        names = [label or f"object {obj_id}" for obj_id, label in zip(self.obj_ids, self.labels, strict=True)]
        classes = [self.obj_ids[names.index(name)] for name in names]
        rows = [row for row, mask in enumerate(self.masks) if mask.any()]
        return supervision.Detections(
            xyxy=self.boxes[rows],
            mask=self.masks[rows],
            confidence=self.scores[rows],
            class_id=np.asarray(classes, np.int64)[rows],
            tracker_id=np.asarray(self.obj_ids, np.int64)[rows],
            data={"class_name": np.asarray(names, dtype=np.str_)[rows]},
            metadata={"frame_idx": self.frame_idx, "pts_seconds": self.pts_seconds},
        )

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: the arrays, without the session that they are made by."""
        made = {"_video_res_logits": self.video_res_logits, "_masks": self.masks}
        return {**self.__dict__, **made, "_to_video_res": _made_already}

    def __repr__(self) -> str:
        n, h, w = self.low_res_logits.shape
        return (
            f"FrameResult(frame_idx={self.frame_idx}, obj_ids={self.obj_ids}, states={self.states}, "
            f"masks=bool{(n, *self.size_hw)}, low_res_logits=float32{(n, h, w)})"
        )

    def _repr_html_(self) -> str:
        """What notebooks show: the masks painted, and a row for each object."""
        rows = zip(self.obj_ids, self.labels, self.states, self.scores, strict=True)
        table = "".join(
            f"<tr><td>{obj_id}</td><td>{escape(label or '')}</td><td>{state}</td><td>{score:.2f}</td></tr>"
            for obj_id, label, state, score in rows
        )
        return (
            f"<div>frame {self.frame_idx}, {self.pts_seconds:.3f} s</div>"
            f'<img alt="masks" style="max-width: 100%" src="data:image/png;base64,{self._thumbnail()}">'
            f"<table><tr><th>id</th><th>label</th><th>state</th><th>score</th></tr>{table}</table>"
        )

    def _thumbnail(self) -> str:
        """The masks as a small PNG, in base64."""
        from PIL import Image

        picture = Image.fromarray(self.plot())
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        file = BytesIO()
        picture.save(file, "PNG")
        return b64encode(file.getvalue()).decode("ascii")


def _made_already(low_res_logits: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """Stands for what a copied result was made by, which is not asked again."""
    raise AssertionError("arrays at the video's size are copied with a result")
