"""An encoded picture as samplers ask it; see `vidseg.samplers.PromptedPicture`.

Layouts: N prompts · K candidates · h w the decoder's grid · H W the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vidseg.errors import ConfigError
from vidseg.samplers.picture import FeatureMap, PromptedPicture
from vidseg.trackers.image.framing import Framing, PartialFraming
from vidseg.trackers.image.prompt import BOX_LABELS
from vidseg.trackers.model import Features, ImageModel, ScreensPrompts

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.samplers.points import Crop

    Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class EmbeddedPicture:
    """One picture, encoded once; prompts cost a run of the decoder alone."""

    model: ImageModel
    framing: Framing
    encoded: Features
    """One row."""
    size_hw: tuple[int, int]
    embed_crop: Callable[[Crop], PromptedPicture] | None
    """Encodes a part of the picture; None if only its features are known."""
    weights_sha256: str | None = None
    """Digest of the model's weights; None where they are random."""

    @property
    def grid_hw(self) -> tuple[int, int]:
        return self.model.low_res_size, self.model.low_res_size

    @property
    def features(self) -> FeatureMap | None:
        if isinstance(self.framing, PartialFraming):
            return None
        values = self.encoded.top_1chw[0].float()
        width_height = torch.tensor(self.size_hw[::-1], dtype=torch.float64)
        far_corner = self.framing.to_model_points(width_height[None], self.size_hw)[0]
        cells = far_corner / self.model.image_size * torch.tensor(values.shape[:0:-1])
        cell_w, cell_h = (width_height / cells).tolist()
        return FeatureMap(values, (cell_w, cell_h), self.weights_sha256)

    def at_points(self, points_xy: Array, least_first_iou: float = 0.0) -> tuple[Tensor, Tensor]:
        labels = torch.ones(len(points_xy), 1, dtype=torch.int32)
        points = torch.from_numpy(points_xy).float()[:, None]
        logits, ious = self._candidates(points, labels, least_first_iou)
        offered = [
            # In the decoder's own order, so that of equal masks the same one stays as in SAM's generator.
            sorted(self.model.best_first(one, its_ious, multimask=True))
            for one, its_ious in zip(logits, ious, strict=True)
        ]
        return _rows(logits, offered), _rows(ious, offered)

    def in_boxes(self, boxes_xyxy: Array) -> tuple[Tensor, Tensor]:
        corners = torch.from_numpy(boxes_xyxy).float().reshape(-1, 2, 2)
        labels = torch.tensor([BOX_LABELS], dtype=torch.int32).expand(len(corners), -1)
        logits, ious = self._candidates(corners, labels)
        single = [
            self.model.best_first(one, its_ious, multimask=False)[:1]
            for one, its_ious in zip(logits, ious, strict=True)
        ]
        return _rows(logits, single), _rows(ious, single)

    def to_picture(self, logits_nhw: Tensor) -> Tensor:
        if not len(logits_nhw):
            return logits_nhw.new_zeros(0, *self.size_hw)
        return self.framing.to_picture(logits_nhw, self.size_hw)

    def crop(self, crop: Crop) -> PromptedPicture:
        if self.embed_crop is None:
            raise ConfigError(
                "crops need the picture, and only its features are here",
                hint="crop_n_layers=0, or embed the picture with vidseg.load_image(...).embed",
            )
        return self.embed_crop(crop)

    @torch.inference_mode()
    def _candidates(
        self, points_np2: Tensor, labels_np: Tensor, least_first_iou: float | None = None
    ) -> tuple[Tensor, Tensor]:
        conditioned = self.model.without_memory(self.encoded).expand(len(points_np2), -1, -1, -1)
        points = self.framing.to_model_points(points_np2, self.size_hw).to(self.model.device)
        labels = labels_np.to(self.model.device)
        if least_first_iou is not None and isinstance(self.model, ScreensPrompts):
            candidates = self.model.screened_candidates(
                self.encoded, conditioned, points_bp2=points, labels_bp=labels, least_iou=least_first_iou
            )
        else:
            candidates = self.model.candidates(self.encoded, conditioned, points_bp2=points, labels_bp=labels)
        return candidates.logits_bkhw, candidates.predicted_ious_bk


def _rows(values_nk: Tensor, chosen: list[list[int]]) -> Tensor:
    """Some of the K candidates of each of the N prompts, equally many of each."""
    index = torch.tensor(chosen, device=values_nk.device)
    return values_nk[torch.arange(len(index), device=values_nk.device)[:, None], index]
