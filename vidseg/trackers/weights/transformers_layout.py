"""Converts names of weights from those of the transformers library to those of official checkpoints.

The library's `Sam2VideoModel`, `Sam2Model` (pictures alone) and `EdgeTamVideoModel` hold the numbers of SAM 2
and EdgeTAM under other names. They store three things differently: the embeddings of points are one matrix,
keys and values of EdgeTAM's perceiver are two, and the random matrix of places is held twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vidseg.trackers.weights.renames.table import Renamer, within

if TYPE_CHECKING:
    from torch import Tensor

_THREE_LAYERS = (("layers.0", "proj_in"), ("layers.1", "layers.0"), ("layers.2", "proj_out"))
_TWO_LAYERS = (("layers.0", "proj_in"), ("layers.1", "proj_out"))
_ATTENTIONS = ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token")


def _same(*names: str) -> list[tuple[str, str]]:
    return [(name, name) for name in names]


_TOP = [
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("no_obj_ptr", "no_object_pointer"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ("obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
    *_same("mask_downsample"),
]
_IMAGE_ENCODER = [
    *within("trunk", "backbone", _same("pos_embed", "pos_embed_window")),
    ("trunk.patch_embed.proj", "backbone.patch_embed.projection"),
    *within(
        "trunk.blocks.*",
        "backbone.blocks.*",
        [
            ("norm1", "layer_norm1"),
            ("norm2", "layer_norm2"),
            *_same("attn.qkv", "attn.proj", "proj"),
            *within("mlp", "mlp", _TWO_LAYERS),
        ],
    ),
    ("trunk.body", "backbone.timm_model"),
    ("neck.convs.*.conv", "neck.convs.*"),
]
_PROMPT_ENCODER = [
    *_same("not_a_point_embed", "no_mask_embed"),
    ("mask_downscaling.0", "mask_embed.conv1"),
    ("mask_downscaling.1", "mask_embed.layer_norm1"),
    ("mask_downscaling.3", "mask_embed.conv2"),
    ("mask_downscaling.4", "mask_embed.layer_norm2"),
    ("mask_downscaling.6", "mask_embed.conv3"),
]
_MASK_DECODER = [
    *_same("iou_token", "mask_tokens", "obj_score_token", "conv_s0", "conv_s1"),
    *within(
        "transformer.layers.*",
        "transformer.layers.*",
        [
            *((f"norm{n}", f"layer_norm{n}") for n in range(1, 5)),
            *((f"{a}.out_proj", f"{a}.o_proj") for a in _ATTENTIONS),
            *_same(*_ATTENTIONS),
            *within("mlp", "mlp", _TWO_LAYERS),
        ],
    ),
    ("transformer.final_attn_token_to_image.out_proj", "transformer.final_attn_token_to_image.o_proj"),
    *_same("transformer.final_attn_token_to_image"),
    ("transformer.norm_final_attn", "transformer.layer_norm_final_attn"),
    ("output_upscaling.0", "upscale_conv1"),
    ("output_upscaling.1", "upscale_layer_norm"),
    ("output_upscaling.3", "upscale_conv2"),
    *within("output_hypernetworks_mlps.*", "output_hypernetworks_mlps.*", _THREE_LAYERS),
    *within("iou_prediction_head", "iou_prediction_head", _THREE_LAYERS),
    *within("pred_obj_score_head", "pred_obj_score_head", _THREE_LAYERS),
]
_MEMORY_ATTENTION = [
    *within(
        "layers.*",
        "layers.*",
        [
            *((f"norm{n}", f"layer_norm{n}") for n in range(1, 4)),
            *((f"{a}.out_proj", f"{a}.o_proj") for a in ("self_attn", "cross_attn_image")),
            *_same("self_attn", "cross_attn_image"),
        ],
    ),
    ("norm", "layer_norm"),
]
_MEMORY_ENCODER = [
    *((f"mask_downsampler.encoder.{3 * n}", f"mask_downsampler.layers.{n}.conv") for n in range(4)),
    *((f"mask_downsampler.encoder.{3 * n + 1}", f"mask_downsampler.layers.{n}.layer_norm") for n in range(4)),
    ("mask_downsampler.encoder.12", "mask_downsampler.final_conv"),
    ("pix_feat_proj", "feature_projection"),
    ("out_proj", "projection"),
    *within(
        "fuser.layers.*",
        "memory_fuser.layers.*",
        [
            ("gamma", "scale"),
            ("dwconv", "depthwise_conv"),
            ("norm", "layer_norm"),
            ("pwconv1", "pointwise_conv1"),
            ("pwconv2", "pointwise_conv2"),
        ],
    ),
]
_PERCEIVER = [
    ("latents", "latents_1d"),
    *_same("latents_2d"),
    ("norm", "layer_norm"),
    *within(
        "layers.*",
        "layers.*",
        [
            ("attn.to_q", "cross_attention.q_proj"),
            ("attn.to_out", "cross_attention.o_proj"),
            ("attn.norm_x", "layer_norm_input"),
            ("attn.norm_latents", "layer_norm_latents"),
            ("self_attn.to_q", "self_attention.q_proj"),
            ("self_attn.to_out", "self_attention.o_proj"),
            ("self_attn.norm", "layer_norm_self"),
            *within("ff", "mlp", [("0", "layer_norm"), ("1", "up_proj"), ("3", "down_proj")]),
            *within("self_ff", "self_mlp", [("0", "layer_norm"), ("1", "up_proj"), ("3", "down_proj")]),
        ],
    ),
]

FEEDFORWARD = [(f"memory_attention.layers.*.linear{n}",) * 2 for n in (1, 2)]
EDGETAM_FEEDFORWARD = [
    (f"memory_attention.layers.*.linear{n}", f"memory_attention.layers.*.mlp.{theirs}")
    for n, theirs in ((1, "up_proj"), (2, "down_proj"))
]
"""The only part that the library names differently in SAM 2 and in EdgeTAM."""

RENAMES: list[tuple[str, str]] = [
    *_TOP,
    *within("image_encoder", "vision_encoder", _IMAGE_ENCODER),
    *within("sam_prompt_encoder", "prompt_encoder", _PROMPT_ENCODER),
    *within("sam_mask_decoder", "mask_decoder", _MASK_DECODER),
    *within("memory_attention", "memory_attention", _MEMORY_ATTENTION),
    *within("memory_encoder", "memory_encoder", _MEMORY_ENCODER),
    *within("obj_ptr_proj", "object_pointer_proj", _THREE_LAYERS),
    *within("spatial_perceiver", "spatial_perceiver", _PERCEIVER),
]
"""Pairs (official, theirs) of beginnings of names; `*` stands for a number. The first row that fits counts.
"""

PLACES = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
THEIR_PLACES = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
POINTS = [f"sam_prompt_encoder.point_embeddings.{label}.weight" for label in range(4)]
THEIR_POINTS = "prompt_encoder.point_embed.weight"
_THEIR_KEYS = re.compile(r"(spatial_perceiver\.layers\.\d+)\.(cross|self)_attention\.([kv])_proj\.weight")


def is_transformers(names: Iterable[str]) -> bool:
    """Whether weights have the library's names."""
    return any(name.startswith(("vision_encoder.backbone.", "vision_encoder.neck.")) for name in names)


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the official names; a name that the table does not have stays as it is."""
    import torch

    rename = Renamer([(theirs, ours) for ours, theirs in (*RENAMES, *EDGETAM_FEEDFORWARD, *FEEDFORWARD)])
    official: dict[str, Tensor] = {}
    halves: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name in THEIR_PLACES:
            official[PLACES] = value
        elif name == THEIR_POINTS and value.shape[0] == len(POINTS):
            official |= zip(POINTS, (row.clone() for row in value.split(1)), strict=True)
        elif found := _THEIR_KEYS.fullmatch(name):
            layer, kind, half = found.groups()
            part = "attn" if kind == "cross" else "self_attn"
            halves.setdefault(f"{layer}.{part}.to_kv.weight", {})[half] = value
        else:
            official[rename(name)] = value
    for name, pair in halves.items():
        official[name] = torch.cat([pair[half] for half in sorted(pair)])
    return official
