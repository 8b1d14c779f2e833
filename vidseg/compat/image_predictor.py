"""The official image predictor's methods (sam2/sam2_image_predictor.py) over `load_image`'s models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vidseg.compat.calls import CallError, as_array
from vidseg.compat.model import SAM2Base
from vidseg.trackers.contract import Tracker
from vidseg.trackers.image.embedding import Embedding
from vidseg.trackers.image.load import segmenter_of
from vidseg.trackers.image.prompt import ImagePrompt
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.postprocess import small_regions

FILLED, REMOVED = 10.0, -10.0
"""Logits that holes and specks are given, relative to the threshold."""
LOGITS_LIMIT = 32.0
"""Returned low-res logits are clamped to plus and minus this."""

FloatArray = npt.NDArray[np.float32]
Prediction = tuple[FloatArray, FloatArray, FloatArray]


class SAM2ImagePredictor:
    """Masks of pictures by the official methods.

    Args:
        sam_model: from `build_sam2`; also a video predictor, a tracker from `vidseg.load`, or what
            `vidseg.load_image` returns.
        mask_threshold: logits above it are on the object.
        max_hole_area: holes of at most this many low-res pixels are filled.
        max_sprinkle_area: regions of at most this many low-res pixels are removed.
    """

    # Setting any other attribute is an error, as it would have no effect.
    __slots__ = (
        "_embeddings",
        "_is_batch",
        "mask_threshold",
        "max_hole_area",
        "max_sprinkle_area",
        "model",
        "segmenter",
    )

    def __init__(
        self,
        sam_model: SAM2Base | Tracker | ImageSegmenter,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
    ) -> None:
        if isinstance(sam_model, ImageSegmenter):
            self.segmenter = sam_model
        else:
            base = sam_model if isinstance(sam_model, SAM2Base) else SAM2Base(sam_model)
            self.segmenter = segmenter_of(base.tracker)
        self.model = sam_model
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area
        self._embeddings: list[Embedding] = []
        self._is_batch = False

    @classmethod
    def from_pretrained(cls, model_id: str, **options: Any) -> SAM2ImagePredictor:
        """The predictor of a published model, 'facebook/sam2.1-hiera-large', or of a folder that holds one.

        Args:
            **options: arguments of the constructor, and of `build_sam2`.

        Raises:
            CheckpointError: its weights are not on this machine; the hint says how to get them.
        """
        from vidseg.compat.build import build_sam2_hf

        own = ("mask_threshold", "max_hole_area", "max_sprinkle_area")
        model = build_sam2_hf(model_id, **{k: v for k, v in options.items() if k not in own})
        return cls(model, **{k: v for k, v in options.items() if k in own})

    @property
    def device(self) -> torch.device:
        return self.segmenter.device

    def set_image(self, image: npt.NDArray[np.uint8] | Image.Image) -> None:
        """Encode a picture: uint8 H x W x 3, RGB, or Pillow's.

        Raises:
            InputError: another kind of picture.
        """
        self.reset_predictor()
        self._embeddings = [self.segmenter.embed(_as_rgb(image))]

    def set_image_batch(self, image_list: Sequence[npt.NDArray[np.uint8]]) -> None:
        """Encode several pictures, for `predict_batch`.

        Raises:
            InputError: one of them is no uint8 H x W x 3.
        """
        self.reset_predictor()
        self._embeddings = self.segmenter.embed_batch([_as_rgb(image) for image in image_list])
        self._is_batch = True

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Prediction:
        """Answer one prompt, or N at once: with N boxes, or points of shape N x P x 2.

        Args:
            point_coords: P x 2, in pixels of the picture, or in 0 to 1 where `normalize_coords` is False.
            point_labels: P: 1 on the object, 0 off it.
            box: (x0, y0, x1, y1), in the same units; or N x 4.
            mask_input: 1 x h x w, low-res logits of an earlier answer; or N x 1 x h x w.
            multimask_output: three masks, in the decoder's order; else one.
            return_logits: logits in place of masks.

        Returns:
            Masks K x H x W (float32: 0 and 1), predicted IoUs K, low-res logits K x h x w, clamped to ±32;
            each with N in front where there are several prompts.

        Raises:
            CallError: no picture is set, or the prompt does not hold together.
        """
        self._require_image()
        prompts = _prompts(
            self._embeddings[-1].size_hw, point_coords, point_labels, box, mask_input, normalize_coords
        )
        return self._predict(self._embeddings[-1], prompts, multimask_output, return_logits)

    def predict_batch(
        self,
        point_coords_batch: Sequence[Any] | None = None,
        point_labels_batch: Sequence[Any] | None = None,
        box_batch: Sequence[Any] | None = None,
        mask_input_batch: Sequence[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[FloatArray], list[FloatArray], list[FloatArray]]:
        """Answer prompts on each picture of `set_image_batch`; a list of `predict`'s arguments for each.

        Returns:
            Lists of masks, predicted IoUs and low-res logits, one of each a picture; see `predict`.
        """
        if not self._is_batch:
            raise CallError("predict_batch answers for set_image_batch", hint="predict() for one picture")
        self._require_image()
        batches = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        answers = []
        for place, embedding in enumerate(self._embeddings):
            points, labels, box, mask = (None if batch is None else batch[place] for batch in batches)
            prompts = _prompts(embedding.size_hw, points, labels, box, mask, normalize_coords)
            answers.append(self._predict(embedding, prompts, multimask_output, return_logits))
        masks, ious, low_res = ([answer[n] for answer in answers] for n in range(3))
        return masks, ious, low_res

    def get_image_embedding(self) -> Tensor:
        """The features of the picture that the decoder reads: 1 x C x H x W at their own stride."""
        return self._features["image_embed"]

    def reset_predictor(self) -> None:
        """Forget the picture."""
        self._embeddings = []
        self._is_batch = False

    @property
    @torch.no_grad()
    def _features(self) -> dict[str, Any]:
        """Features under the name by which the official notebook accesses them."""
        self._require_image()
        encoded = [embedding.encoded for embedding in self._embeddings]
        levels = zip(*(each.high_res for each in encoded), strict=True)
        return {
            "image_embed": torch.cat([self.segmenter.model.without_memory(each) for each in encoded]),
            "high_res_feats": [torch.cat(level) for level in levels],
        }

    def _require_image(self) -> None:
        if not self._embeddings:
            raise CallError("no picture is set", hint="set_image(...) or set_image_batch([...]) first")

    def _predict(
        self, embedding: Embedding, prompts: list[ImagePrompt], multimask: bool, return_logits: bool
    ) -> Prediction:
        parts = []
        for answer in embedding.answers(prompts):
            chosen = sorted(answer.best_first(multimask=multimask))
            low_res = answer.low_res_logits[chosen]
            logits = answer.resized(self._tidied(torch.from_numpy(low_res))).cpu().numpy()
            masks = logits if return_logits else (logits > self.mask_threshold).astype(np.float32)
            parts.append((masks, answer.predicted_ious[chosen], low_res.clip(-LOGITS_LIMIT, LOGITS_LIMIT)))
        if len(parts) == 1:
            return parts[0]
        masks, ious, low_res = (np.stack([part[n] for part in parts]) for n in range(3))
        return masks, ious, low_res

    def _tidied(self, logits_khw: Tensor) -> Tensor:
        """The logits without small holes and specks; both are looked for in the original mask."""
        is_on, tidied = logits_khw > self.mask_threshold, logits_khw
        if self.max_hole_area > 0:
            holes = small_regions(~is_on, int(self.max_hole_area))
            tidied = torch.where(holes, self.mask_threshold + FILLED, tidied)
        if self.max_sprinkle_area > 0:
            specks = small_regions(is_on, int(self.max_sprinkle_area))
            tidied = torch.where(specks, self.mask_threshold + REMOVED, tidied)
        return tidied


def _as_rgb(image: Any) -> Any:
    return np.array(image.convert("RGB")) if isinstance(image, Image.Image) else image


def _prompts(
    size_hw: tuple[int, int], points: Any, labels: Any, boxes: Any, masks: Any, normalize_coords: bool
) -> list[ImagePrompt]:
    """One prompt for each row that was given; a single row of one kind goes with all rows of the others."""
    if (points is None) != (labels is None):
        raise CallError("point_coords and point_labels must be given together")
    unit = np.array([1, 1] if normalize_coords else size_hw[::-1], np.float32)
    rows: dict[str, Any] = {}
    if points is not None:
        points_xy, marks = as_array(points, np.float32) * unit, as_array(labels, np.int32)
        if points_xy.ndim == 2:
            points_xy, marks = points_xy[None], marks[None]
        if marks.shape != points_xy.shape[:2]:
            raise CallError(f"points of shape {points_xy.shape} but labels of shape {marks.shape}")
        rows |= {"points_xy": points_xy, "labels": marks}
    if boxes is not None:
        rows["box"] = (as_array(boxes, np.float32).reshape(-1, 2, 2) * unit).reshape(-1, 4)
    if masks is not None:
        logits = torch.from_numpy(as_array(masks, np.float32).copy())
        rows["mask_logits"] = list((logits[None] if logits.dim() == 3 else logits)[:, 0])
    if empty := [name for name, given in rows.items() if len(given) == 0]:
        raise CallError(f"{empty[0]} of no prompt at all", hint="leave out what there is none of")
    count = max((len(given) for given in rows.values()), default=1)
    uneven = [name for name, given in rows.items() if len(given) not in (1, count)]
    if uneven:
        raise CallError(f"{len(rows[uneven[0]])} rows of {uneven[0]} for {count} prompts")
    return [
        ImagePrompt.joined(**{name: given[row if len(given) > 1 else 0] for name, given in rows.items()})
        for row in range(count)
    ]
