"""The teacher: a frozen image model with weights, which sees pictures at its own input size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.trackers.image.load import build_segmenter
from vidseg.trackers.image_encoder import normalise
from vidseg.trackers.model import Candidates, Features, ImageModel, module_of
from vidseg.trackers.options import TrackerOptions
from vidseg.training.distil_settings import DistilSettings
from vidseg.training.start import weights_of_field


@dataclass(frozen=True)
class Teacher:
    """An image model that answers for pictures of any size."""

    model: ImageModel

    @torch.no_grad()
    def encode(self, images_r3ss: Tensor) -> Features:
        """Features of uint8 pictures R x 3 x S x S, stretched to the model's input."""
        size = (self.model.image_size, self.model.image_size)
        if images_r3ss.shape[-2:] != size:
            images_r3ss = F.interpolate(images_r3ss.float(), size=size, mode="bilinear", antialias=True)
        return self.model.encode_batch(normalise(images_r3ss))

    @torch.no_grad()
    def answer(
        self,
        features: Features,
        points_rp2: Tensor,
        labels_rp: Tensor,
        previous_rhw: Tensor | None,
        side: int,
    ) -> Candidates:
        """Candidates for prompts in pixels of the student's input of `side`."""
        return self.model.candidates(
            features,
            self.model.without_memory(features),
            points_bp2=points_rp2 * (self.model.image_size / side),
            labels_bp=labels_rp,
            previous_logits_bhw=previous_rhw,
        )


def build_teacher(settings: DistilSettings, device: str) -> Teacher:
    """The teacher, on the device.

    Raises:
        ConfigError: it is unknown, or segments no pictures.
        CheckpointError: its weights are missing or do not fit.
    """
    with weights_of_field("distil.teacher", "teacher_weights"):
        segmenter = build_segmenter(
            TrackerOptions.of(settings.teacher, weights=settings.teacher_weights, device=device)
        )
    module_of(segmenter.model).requires_grad_(False)
    return Teacher(segmenter.model)
