"""The first SAM's image predictor (segment_anything/predictor.py) over `load_image`'s models."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidseg.compat.calls import CallError, as_array
from vidseg.compat.longest_side import ResizeLongestSide
from vidseg.compat.sam_model import Sam
from vidseg.trackers.image.prompt import BOX_LABELS
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.model import Features

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


class SamPredictor:
    """Masks of pictures by the official methods.

    Args:
        sam_model: from `sam_model_registry`, or what `vidseg.load_image` returns.

    Raises:
        CallError: the model is not of SAM's kind.
    """

    def __init__(self, sam_model: Sam | ImageSegmenter) -> None:
        self.model = sam_model if isinstance(sam_model, Sam) else Sam(sam_model)
        framing = self.model.framing
        self.transform = ResizeLongestSide(framing.prompt_size or framing.size)
        self._encoded: Features | None = None
        self.original_size: tuple[int, int] | None = None

    @property
    def device(self) -> torch.device:
        return self.model.device

    def set_image(self, image: npt.NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encode a picture.

        Args:
            image: uint8 H x W x 3.
            image_format: 'RGB' or 'BGR', the order of its channels.

        Raises:
            CallError, InputError: another format or kind of picture.
        """
        if image_format not in ("RGB", "BGR"):
            raise CallError(f"image_format '{image_format}'", hint="'RGB' or 'BGR'")
        self.reset_image()
        embedding = self.model.segmenter.embed(image if image_format == "RGB" else image[..., ::-1])
        self._encoded = embedding.encoded
        self.original_size = embedding.size_hw

    @torch.inference_mode()
    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, int]) -> None:
        """Encode a picture that was resized already.

        Args:
            transformed_image: 1 x 3 x H x W, values from 0 to 255, RGB, as `transform.apply_image` resizes.
            original_image_size: height and width before.

        Raises:
            CallError: the long side is not the input's.
        """
        framing = self.model.framing
        shape = tuple(transformed_image.shape)
        if len(shape) != 4 or shape[:2] != (1, 3) or max(shape[2:]) != framing.size:
            raise CallError(
                f"a picture of shape {shape}", hint=f"1 x 3 x H x W, with a long side of {framing.size}"
            )
        self.reset_image()
        model_input = framing.framed(transformed_image[0].to(self.device))
        self._encoded = self.model.segmenter.model.encode(model_input)
        self.original_size = (original_image_size[0], original_image_size[1])

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[BoolArray | FloatArray, FloatArray, FloatArray]:
        """Answer one prompt.

        Args:
            point_coords: P x 2, in pixels of the picture.
            point_labels: P: 1 on the object, 0 off it.
            box: (x0, y0, x1, y1).
            mask_input: 1 x h x w, low-res logits of an earlier answer.
            multimask_output: three masks, in the decoder's order; else one.
            return_logits: logits in place of masks.

        Returns:
            Masks K x H x W (bool, or float32 logits), predicted IoUs K, low-res logits K x h x w.

        Raises:
            CallError: no picture is set, or points come without labels.
        """
        size_hw, transform = self._require_image(), self.transform
        if (point_coords is None) != (point_labels is None):
            raise CallError("point_coords and point_labels must be given together")
        points: Any = None if point_coords is None else transform.apply_coords(point_coords, size_hw)[None]
        labels: Any = None if point_labels is None else as_array(point_labels, np.int32)[None]
        boxes: Any = None if box is None else transform.apply_boxes(box, size_hw)
        mask: Any = None if mask_input is None else as_array(mask_input, np.float32)[None]
        points, labels, boxes, mask = (
            None if x is None else torch.as_tensor(x) for x in (points, labels, boxes, mask)
        )
        masks, ious, low_res = self.predict_torch(
            points, labels, boxes, mask, multimask_output, return_logits
        )
        return masks[0].cpu().numpy(), ious[0].cpu().numpy(), low_res[0].cpu().numpy()

    @torch.inference_mode()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Answer B prompts in one run of the decoder; coordinates went through `transform` already.

        Args:
            point_coords: B x P x 2.
            point_labels: B x P.
            boxes: B x 4.
            mask_input: B x 1 x h x w.
            multimask_output, return_logits: see `predict`.

        Returns:
            Masks B x K x H x W, predicted IoUs B x K, low-res logits B x K x h x w.

        Raises:
            CallError: no picture is set.
        """
        size_hw = self._require_image()
        assert self._encoded is not None
        model, framing = self.model.segmenter.model, self.model.framing
        points_bp2, labels_bp = self._as_points(point_coords, point_labels, boxes, mask_input)
        candidates = model.candidates(
            self._encoded,
            model.without_memory(self._encoded).expand(len(points_bp2), -1, -1, -1),
            points_bp2=points_bp2 * (framing.size / self.transform.target_length),
            labels_bp=labels_bp,
            previous_logits_bhw=None if mask_input is None else mask_input[:, 0].to(self.device).float(),
        )
        first = candidates.first_offer
        chosen = slice(first, None) if multimask_output else slice(0, 1)
        low_res, ious = candidates.logits_bkhw[:, chosen], candidates.predicted_ious_bk[:, chosen]
        logits = framing.to_picture(low_res.flatten(0, 1), size_hw).unflatten(0, low_res.shape[:2])
        return (logits if return_logits else logits > self.model.mask_threshold), ious, low_res

    def get_image_embedding(self) -> Tensor:
        """The features of the picture: 1 x C x h x w.

        Raises:
            CallError: no picture is set.
        """
        self._require_image()
        assert self._encoded is not None
        return self._encoded.top_1chw

    def reset_image(self) -> None:
        """Forget the picture."""
        self._encoded = None
        self.original_size = None

    @property
    def is_image_set(self) -> bool:
        return self._encoded is not None

    @property
    def features(self) -> Tensor | None:
        """See `get_image_embedding`; None if no picture is set."""
        return None if self._encoded is None else self._encoded.top_1chw

    def _require_image(self) -> tuple[int, int]:
        if self.original_size is None:
            raise CallError("no picture is set", hint="set_image(image) comes first")
        return self.original_size

    def _as_points(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Boxes as their corners, then the points: B x P x 2, and their labels B x P."""
        given = [x for x in (points, boxes, masks) if x is not None]
        if not given:
            raise CallError("an empty prompt", hint="give points with labels, a box, or a mask")
        batch = len(given[0])
        xy, marks = [torch.zeros(batch, 0, 2)], [torch.zeros(batch, 0, dtype=torch.int32)]
        if boxes is not None:
            xy.append(boxes.reshape(-1, 2, 2))
            marks.append(torch.tensor(BOX_LABELS, dtype=torch.int32).expand(batch, 2))
        if points is not None and labels is not None:
            xy.append(points)
            marks.append(labels)
        return (
            torch.cat([x.to(self.device, torch.float32) for x in xy], dim=1),
            torch.cat([x.to(self.device, torch.int32) for x in marks], dim=1),
        )
