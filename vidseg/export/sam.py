"""The parts of image models: image encoder and mask decoder of the first SAM's kind, PicoSAM2's network.

Layouts: P pictures · B objects · K candidates · Q points · C channels · H W the feature grid · h w the
low-res grid (4x that) · S side of the model's input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidseg.export.parts import OBJECTS, PICTURES, POINTS, Exportable, Part
from vidseg.memory.widths import CHANNELS
from vidseg.trackers.pico_sam2.image_model import PicoImageModel
from vidseg.trackers.sam.efficient_sam import MAX_POINTS, EfficientSamModel
from vidseg.trackers.sam.image_model import SamImageModel


class ImageEncoder(nn.Module):
    """Pictures P x 3 x S x S to features P x C x H x W."""

    def __init__(self, model: SamImageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.model.encode_batch(image).top_1chw,)


class MaskDecoder(nn.Module):
    """Candidates for prompts.

    Inputs: features B x C x H x W, one row for each object; points B x Q x 2 in pixels of the model's input
    and their labels, with the padding that the family wants; earlier logits B x h x w, which count where
    `has_earlier` is true, unless the family takes none.
    Outputs: logits B x K x h x w, predicted IoUs B x K.
    """

    def __init__(self, model: SamImageModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, features: Tensor, points: Tensor, labels: Tensor, *earlier: Tensor
    ) -> tuple[Tensor, Tensor]:
        model, encoder = self.model, self.model.prompt_encoder
        dense = encoder.masks(None)
        if earlier:
            earlier_logits, has_earlier = earlier
            dense = torch.where(
                has_earlier[:, None, None, None], encoder.masks(earlier_logits[:, None]), dense
            )
        placed = points * (model.prompt_size / model.image_size)
        candidates = model.mask_decoder(
            features,
            [],
            encoder.as_given(placed, labels, model.prompt_size),
            dense,
            encoder.grid(*features.shape[-2:]),
        )
        return candidates.logits_bkhw, candidates.predicted_ious_bk


def describe_sam(model: SamImageModel) -> Exportable:
    """The parts of an image model of the first SAM's kind, and the facts beside them."""
    size, side = model.image_size, model.image_size // model.stride
    # EfficientSAM makes six tokens of every prompt.
    most = MAX_POINTS if isinstance(model, EfficientSamModel) else None
    count = most or 3
    earlier = {}
    if model.takes_masks:
        earlier = {
            "earlier_logits": torch.randn(2, 4 * side, 4 * side),
            "has_earlier": torch.tensor([True, False]),
        }
    points = {0: OBJECTS} if most else {0: OBJECTS, 1: POINTS}
    parts = [
        Part(
            name="image_encoder",
            module=ImageEncoder(model),
            inputs={"image": torch.randn(2, 3, size, size)},
            outputs=("features",),
            free={"image": {0: PICTURES}},
        ),
        Part(
            name="mask_decoder",
            module=MaskDecoder(model),
            inputs={
                "features": torch.randn(2, CHANNELS, side, side),
                "points": torch.rand(2, count, 2) * size,
                "labels": torch.ones(2, count, dtype=torch.int32),
                **earlier,
            },
            outputs=("logits", "predicted_ious"),
            exact=frozenset({"points"}),
            free={
                "features": {0: OBJECTS},
                "points": points,
                "labels": points,
                **{name: {0: OBJECTS} for name in earlier},
            },
        ),
    ]
    facts = {
        "model": "sam",
        "image_size": size,
        "grid": side,
        "low_res": 4 * side,
        "channels": CHANNELS,
        "num_points": most,
        "takes_masks": model.takes_masks,
        "choice": model.choice,
        "ranks": model.ranks,
        "single_mask": model.single_mask,
    }
    return Exportable(parts=parts, facts=facts)


class Network(nn.Module):
    """Squares B x 3 x S x S to logits B x 1 x S x S."""

    def __init__(self, model: PicoImageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, squares: Tensor) -> tuple[Tensor]:
        return (self.model.segment_squares(squares),)


def describe_pico_sam2(model: PicoImageModel) -> Exportable:
    """PicoSAM2's one part, and the facts beside it."""
    size = model.image_size
    part = Part(
        name="network",
        module=Network(model),
        inputs={"squares": torch.randn(2, 3, size, size)},
        outputs=("logits",),
        free={"squares": {0: OBJECTS}},
    )
    return Exportable(parts=[part], facts={"model": "pico-sam2", "image_size": size})
