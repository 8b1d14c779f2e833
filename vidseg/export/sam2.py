"""The parts of SAM 2's family: image encoder, memory attention, mask decoder, mask prompt, memory encoder.

Layouts: P pictures · B objects · K candidates · T memory frames · N tokens of a memory frame · R pointers ·
Q points · C channels · H W the feature grid · h w the low-res grid (4x that) · S side of the model's input.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.export.parts import FRAMES, OBJECTS, PICTURES, POINTERS, POINTS, Exportable, Part
from vidseg.memory.pooled_attention import PooledCrossAttention
from vidseg.memory.position import sine_grid
from vidseg.memory.widths import CHANNELS, MEMORY_CHANNELS
from vidseg.trackers.model import MASK_LOGIT_BIAS, MASK_LOGIT_SCALE, Features
from vidseg.trackers.onnx.graphs import OF_ONE_FRAME
from vidseg.trackers.sam2.video_model import Sam2VideoModel


class ImageEncoder(nn.Module):
    """Pictures P x 3 x S x S to the features that decoding uses, coarsest first."""

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.model.encode_batch(image)
        return (features.top_1chw, *reversed(features.high_res))


class MemoryAttention(nn.Module):
    """Features conditioned on memories: B x C x H x W.

    Inputs: features 1 x C x H x W; memories B x T x N x 64 with the time slot of each, B x T (the last slot
    for conditioning frames); pointers B x R x C with their times, B x R: frames back, divided by the pointer
    limit less 1.
    """

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, features: Tensor, memories: Tensor, slots: Tensor, pointers: Tensor, times: Tensor
    ) -> tuple[Tensor]:
        model = self.model
        _, channels, height, width = features.shape
        memory = model.memory_tokens((height, width), memories, slots, pointers, times)
        position = sine_grid(channels, height, width, features.device).to(features.dtype)
        return (model.memory_attention(features, position, memory),)


class MaskDecoder(nn.Module):
    """Candidates for prompts, or for none: one point with label -1.

    Inputs: conditioned features B x C x H x W; the finer features of the frame; points B x Q x 2 in pixels of
    the model's input and their labels; earlier logits B x h x w, which count where `has_earlier` is true.
    Outputs: logits B x K x h x w, predicted IoUs B x K, a pointer for each candidate B x K x C (of a visible
    object), object scores B.
    """

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        conditioned: Tensor,
        points: Tensor,
        labels: Tensor,
        earlier_logits: Tensor,
        has_earlier: Tensor,
        *high_res: Tensor,
    ) -> tuple[Tensor, ...]:
        encoder = self.model.sam_prompt_encoder
        dense = torch.where(
            has_earlier[:, None, None, None], encoder.masks(earlier_logits[:, None]), encoder.masks(None)
        )
        candidates = self.model.sam_mask_decoder(
            conditioned,
            list(reversed(high_res)),
            encoder.points(points, labels, self.model.image_size),
            dense,
            encoder.grid(*conditioned.shape[-2:]),
        )
        return (
            candidates.logits_bkhw,
            candidates.predicted_ious_bk,
            self.model.obj_ptr_proj(candidates.tokens_bkc),
            candidates.object_score_logits_b,
        )


class MaskPrompt(nn.Module):
    """Masks from a user, B x S x S of 0 and 1, as the memory takes them: logits, pointers, object scores."""

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, masks: Tensor, *high_res: Tensor) -> tuple[Tensor, ...]:
        decoded = self.model.take_mask(Features(list(reversed(high_res)), features), masks > 0.5)
        return decoded.low_res_logits_bhw, decoded.pointers_bc, decoded.object_score_logits_b


class MemoryEncoder(nn.Module):
    """Memories of B objects: B x N x 64, to be rounded to bfloat16 as SAM 2 does it.

    Inputs: features 1 x C x H x W, not conditioned; logits B x h x w; object scores B; whether the masks
    answer a prompt, B.
    """

    def __init__(self, model: Sam2VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, features: Tensor, logits: Tensor, object_scores: Tensor, from_prompt: Tensor
    ) -> tuple[Tensor]:
        model = self.model
        size = (model.image_size, model.image_size)
        resized = F.interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)
        binary = (resized > 0).to(resized.dtype)
        masks = torch.where(from_prompt[:, None, None, None], binary, resized.sigmoid())
        memory = model.memory_encoder(features, masks * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS)
        if model.no_obj_embed_spatial is not None:
            is_absent = (object_scores <= 0)[:, None, None, None]
            memory = memory + is_absent * model.no_obj_embed_spatial[..., None, None]
        if model.spatial_perceiver is None:
            return (memory.flatten(2).transpose(1, 2),)
        height, width = memory.shape[-2:]
        place = sine_grid(MEMORY_CHANNELS, height, width, memory.device)
        return (model.spatial_perceiver(memory, place)[0],)


def describe_sam2(model: Sam2VideoModel) -> Exportable:
    """The parts of a model of SAM 2's family, and the facts beside them."""
    side, size = model.image_size // 16, model.image_size
    perceiver = model.spatial_perceiver
    num_tokens = side**2 if perceiver is None else len(perceiver.token_positions(torch.device("cpu")))
    features = torch.randn(1, CHANNELS, side, side)
    finer = {}
    if model.sam_mask_decoder.use_high_res_features:
        finer = {
            "high_res_8": torch.randn(1, CHANNELS // 4, 2 * side, 2 * side),
            "high_res_4": torch.randn(1, CHANNELS // 8, 4 * side, 4 * side),
        }
    low_res = torch.randn(2, 4 * side, 4 * side)
    flags = torch.tensor([True, False])
    of_objects = {0: OBJECTS}
    memory_attention = Part(
        name="memory_attention",
        module=MemoryAttention(model),
        inputs={
            "features": features,
            "memories": torch.randn(2, 3, num_tokens, MEMORY_CHANNELS),
            "slots": torch.tensor([[0, 1, 2], [2, 1, 0]]),
            "pointers": torch.randn(2, 5, CHANNELS),
            "times": torch.rand(2, 5),
        },
        outputs=("conditioned",),
        exact=frozenset({"times"}),
        free={
            "memories": {0: OBJECTS, 1: FRAMES},
            "slots": {0: OBJECTS, 1: FRAMES},
            "pointers": {0: OBJECTS, 1: POINTERS},
            "times": {0: OBJECTS, 1: POINTERS},
        },
    )
    parts = [
        Part(
            name="image_encoder",
            module=ImageEncoder(model),
            inputs={"image": torch.randn(2, 3, size, size)},
            outputs=("features", *finer),
            free={"image": {0: PICTURES}},
        ),
        memory_attention,
        Part(
            name="mask_decoder",
            module=MaskDecoder(model),
            inputs={
                "conditioned": features.repeat(2, 1, 1, 1),
                "points": torch.rand(2, 3, 2) * size,
                "labels": torch.ones(2, 3, dtype=torch.int32),
                "earlier_logits": low_res,
                "has_earlier": flags,
                **finer,
            },
            outputs=("logits", "predicted_ious", "pointers", "object_scores"),
            exact=frozenset({"points"}),
            free={
                "conditioned": of_objects,
                "points": {0: OBJECTS, 1: POINTS},
                "labels": {0: OBJECTS, 1: POINTS},
                "earlier_logits": of_objects,
                "has_earlier": of_objects,
            },
        ),
        Part(
            name="mask_prompt",
            module=MaskPrompt(model),
            inputs={"features": features, "masks": (torch.rand(2, size, size) > 0.5).float(), **finer},
            outputs=("logits", "pointers", "object_scores"),
            free={"masks": of_objects},
        ),
        Part(
            name="memory_encoder",
            module=MemoryEncoder(model),
            inputs={
                "features": features,
                "logits": low_res,
                "object_scores": torch.tensor([1.0, -1.0]),
                "from_prompt": flags,
            },
            outputs=("memories",),
            free={"logits": of_objects, "object_scores": of_objects, "from_prompt": of_objects},
        ),
    ]
    if any(isinstance(part, PooledCrossAttention) for part in model.memory_attention.modules()):
        # A memory that is alone is read another way there, and a tracer takes one way through the code.
        alone = {name: memory_attention.inputs[name][:, :1] for name in ("memories", "slots")}
        parts.append(
            replace(
                memory_attention,
                name=OF_ONE_FRAME,
                inputs={**memory_attention.inputs, **alone},
                free={**memory_attention.free, **dict.fromkeys(alone, of_objects)},
            )
        )
    facts = {
        "model": "sam2",
        "image_size": size,
        "grid": side,
        "low_res": 4 * side,
        "channels": CHANNELS,
        "memory_channels": MEMORY_CHANNELS,
        "memory_tokens": num_tokens,
        "memory_slots": len(model.maskmem_tpos_enc),
        "finer_features": list(finer),
        "feedback_limit": model.feedback_limit,
        "no_memory": model.no_mem_embed.flatten().tolist(),
        "absent_pointer": model.no_obj_ptr.flatten().tolist(),
    }
    return Exportable(parts=parts, facts=facts)
