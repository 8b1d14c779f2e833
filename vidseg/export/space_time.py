"""The learned parts of space-time models such as vidseg-nano; flow, colours and GrabCut stay as they are.

Layouts: P pictures · R objects · K rows of keys (1 if objects share them) · N cells of the frame · M memory
tokens · D key channels · E value channels · C channels · H W the key grid · h w the low-res grid · S side of
the model's input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.export.parts import OBJECTS, PICTURES, Exportable, Part
from vidseg.trackers.model import Features
from vidseg.trackers.space_time import prompt_decoder, prompt_maps
from vidseg.trackers.space_time.decoder import LIKENESS, MAPS
from vidseg.trackers.space_time.grids import LOW_RES_STRIDE, MASK_CHANNELS, STRIDE
from vidseg.trackers.space_time.video_model import SpaceTimeModel

ROWS, TOKENS, VALUES = "rows", "tokens", "values"
"""Names of free sizes."""


class ImageEncoder(nn.Module):
    """Pictures P x 3 x S x S to the features that all other parts use, coarsest first."""

    def __init__(self, model: SpaceTimeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features: Features = self.model.encode_batch(image)
        return (features.top_1chw, *reversed(features.high_res))


class Reading(nn.Module):
    """What each cell reads: K x N x F, of values K x M x F; objects that share keys lie side by side in F."""

    def __init__(self, model: SpaceTimeModel) -> None:
        super().__init__()
        self.reading = model.reading

    def forward(self, keys: Tensor, memory: Tensor, values: Tensor) -> tuple[Tensor]:
        return ((keys * self.reading.sharpness() @ memory.transpose(1, 2)).softmax(dim=2) @ values,)


class Remembering(nn.Module):
    """The learned channels of values, R x (E - 16) x H x W, of what is seen, masks and marks."""

    def __init__(self, model: SpaceTimeModel) -> None:
        super().__init__()
        self.model = model
        self.widths = model.context_channels, MASK_CHANNELS, prompt_maps.CHANNELS

    def forward(self, seen: Tensor) -> tuple[Tensor]:
        return (self.model.remembered(*seen.split(self.widths, dim=1)),)


class Decoder(nn.Module):
    """Mask logits R x h x w, object scores R and predicted IoUs before the sigmoid, R; see `LabelDecoder`."""

    def __init__(self, model: SpaceTimeModel) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(
        self, read: Tensor, maps: Tensor, likeness: Tensor, context: Tensor, fine_2: Tensor, fine_4: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        maps_4 = F.avg_pool2d(maps, 2)
        pyramid = [[maps], [maps_4], [F.avg_pool2d(maps_4, 2)]]
        decoded = self.decoder.decode([read], pyramid, likeness, context, [fine_2, fine_4])
        return decoded.logits_rhw, decoded.score_logits_r, decoded.iou_logits_r


class PromptAnswer(nn.Module):
    """Mask logits R x h x w and predicted IoUs before the sigmoid, R; see `PromptDecoder`."""

    def __init__(self, model: SpaceTimeModel) -> None:
        super().__init__()
        self.network = model.prompt_decoder

    def forward(
        self,
        keys: Tensor,
        context: Tensor,
        fine_2: Tensor,
        fine_4: Tensor,
        map_16: Tensor,
        map_32: Tensor,
        drawn: Tensor,
        so_far: Tensor,
    ) -> tuple[Tensor, Tensor]:
        assert self.network is not None
        answer: tuple[Tensor, Tensor] = self.network(
            keys, context, [fine_2, fine_4, map_16, map_32], drawn, so_far
        )
        return answer


def describe_space_time(model: SpaceTimeModel) -> Exportable:
    """The learned parts of a space-time model, and the facts beside them."""
    size, side, low = model.image_size, model.image_size // STRIDE, model.low_res_size
    with torch.inference_mode():
        finer = model.encode_batch(torch.zeros(1, 3, size, size)).high_res
    names = ("fine_2", "fine_4", "map_16", "map_32")[: len(finer)]
    maps = {name: torch.randn_like(map) for name, map in zip(names, finer, strict=True)}
    read = model.decoder.enter.in_channels - MAPS
    context = model.context_channels
    seen = context + MASK_CHANNELS + prompt_maps.CHANNELS
    of_objects = {0: OBJECTS}
    parts = [
        Part(
            name="image_encoder",
            module=ImageEncoder(model),
            inputs={"image": torch.randn(2, 3, size, size)},
            outputs=("top", *reversed(names)),
            free={"image": {0: PICTURES}},
        ),
        Part(
            name="reading",
            module=Reading(model),
            inputs={
                "keys": torch.randn(2, side**2, model.key_channels),
                "memory": torch.randn(2, 3 * side**2, model.key_channels),
                "values": torch.randn(2, 3 * side**2, 2 * model.value_channels),
            },
            outputs=("read",),
            free={
                "keys": {0: ROWS},
                "memory": {0: ROWS, 1: TOKENS},
                "values": {0: ROWS, 1: TOKENS, 2: VALUES},
            },
        ),
        Part(
            name="remembering",
            module=Remembering(model),
            inputs={"seen": torch.randn(2, seen, side, side)},
            outputs=("values",),
            free={"seen": of_objects},
        ),
        Part(
            name="decoder",
            module=Decoder(model),
            inputs={
                "read": torch.randn(2, read, side, side),
                "maps": torch.rand(2, MAPS, low, low),
                "likeness": torch.randn(2, LIKENESS, side, side),
                "context": torch.randn(1, context, side, side),
                "fine_2": maps["fine_2"],
                "fine_4": maps["fine_4"],
            },
            outputs=("logits", "object_scores", "iou_logits"),
            free={"read": of_objects, "maps": of_objects, "likeness": of_objects},
        ),
    ]
    if model.prompt_decoder is not None:
        parts.append(
            Part(
                name="prompt_decoder",
                module=PromptAnswer(model),
                inputs={
                    "keys": torch.randn(1, model.key_channels, side, side),
                    "context": torch.randn(1, context, side, side),
                    **maps,
                    "drawn": torch.rand(2, prompt_maps.CHANNELS, side, side),
                    "so_far": torch.rand(2, prompt_decoder.MAPS - prompt_maps.CHANNELS, low, low),
                },
                outputs=("logits", "iou_logits"),
                free={"drawn": of_objects, "so_far": of_objects},
            )
        )
    facts = {
        "model": "space-time",
        "image_size": size,
        "grid": side,
        "low_res": size // LOW_RES_STRIDE,
        "key_channels": model.key_channels,
        "value_channels": model.value_channels,
        "context_channels": context,
        "prompt_passes": model.prompt_passes,
        "prompt_decoder": model.prompt_decoder is not None,
        "no_memory": model.no_memory.tolist(),
        "no_prompt": model.no_prompt.tolist(),
        "no_object": model.no_object.tolist(),
    }
    return Exportable(parts=parts, facts=facts)
