"""From a YAML to a model: its settings, and one function that builds the whole from the tables of parts.

Unknown names and keys, and parts that do not go together, are refused here with the reason.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field

from vidseg.errors import ConfigError
from vidseg.memory.attention import MemoryAttention
from vidseg.memory.bank import BankPolicy
from vidseg.memory.compressor import Compressor
from vidseg.memory.encoder import MemoryEncoder
from vidseg.trackers.backbones.single_scale_neck import SingleScaleNeck
from vidseg.trackers.image_encoder import STRIDES, ImageEncoder, PyramidNeck
from vidseg.trackers.model import CHANNELS, MEMORY_CHANNELS, VideoModel
from vidseg.trackers.parts import BACKBONES, BANK_POLICIES, COMPRESSORS, MEMORY_ATTENTIONS, build_part
from vidseg.trackers.space_time.model import SpaceTimeModel
from vidseg.validation import Strict


class SpaceTimeSettings(Strict):
    key_channels: int = Field(default=64, ge=8)
    value_channels: int = Field(default=32, gt=16)
    context_channels: int = Field(default=64, ge=8, multiple_of=8)
    fine_channels: list[int] = Field(default=[16, 32], min_length=2, max_length=2)
    """At strides 2 and 4."""
    pyramid_channels: int = Field(default=96, ge=8, multiple_of=8)
    prompt_passes: int = Field(default=2, ge=1)


class EngineSettings(Strict):
    """A tracker's YAML, without its `kind`; a part is a mapping with its `name` and its settings."""

    family: Literal["sam2", "sam2.1", "edgetam", "efficienttam", "surgical-sam2", "own"] = "own"
    """Whose checkpoints fit."""
    weights: str | None = Field(default=None, exclude=True)
    """A file of weights, from the YAML's folder; None for the published ones of the tracker's name."""
    image_size: int = Field(default=1024, ge=64, multiple_of=32)
    """Side of the square model input."""
    backbone: dict[str, Any]
    compressor: dict[str, Any] = Field(default={"name": "none"})
    memory_attention: dict[str, Any] = Field(default={"name": "rotary"})
    bank: dict[str, Any] = Field(default={"name": "recent-frames"})
    absent_embedding: bool = False
    """The memory of an absent object is marked (SAM 2.1)."""
    pointer_times: Literal["none", "projected"] = "none"
    """Time code of object pointers: none (SAM 2), or signed and projected (SAM 2.1)."""
    space_time: SpaceTimeSettings | None = None
    """The widths of a space-time memory model, which takes the place of SAM 2's and has a memory attention of
    its own."""
    keeps_corrections: bool = False
    """A corrected frame keeps its mask when tracking comes past it again, as in SAM 2's first predictor, on
    which EdgeTAM and Surgical SAM 2 are built; else it is tracked anew (SAM 2.1, EfficientTAM)."""


def build_model(settings: EngineSettings, where: str) -> tuple[VideoModel | SpaceTimeModel, BankPolicy]:
    """The whole graph, top to bottom, with weights not yet loaded.

    Raises:
        ConfigError: a part is unknown or does not fit the others.
    """
    backbone = build_part(BACKBONES, "backbone", settings.backbone, where)
    if settings.space_time is not None:
        return _build_space_time(settings, settings.space_time, backbone, where)
    compressor = build_part(COMPRESSORS, "compressor", settings.compressor, where)
    attention = build_part(MEMORY_ATTENTIONS, "memory_attention", settings.memory_attention, where)
    policy = build_part(BANK_POLICIES, "bank", settings.bank, where)
    _check_fit(settings, compressor, attention, where)
    _check_strides(backbone, where)
    is_pyramid = backbone.mode == "pyramid"
    neck = PyramidNeck(backbone.channels, CHANNELS) if is_pyramid else SingleScaleNeck(backbone.channels[0])
    model = VideoModel(
        image_encoder=ImageEncoder(backbone, neck),
        memory_attention=attention,
        memory_encoder=MemoryEncoder(CHANNELS, MEMORY_CHANNELS),
        compressor=compressor,
        image_size=settings.image_size,
        memory_slots=policy.recent_frames + 1,
        use_high_res_features=is_pyramid,
        has_absent_embedding=settings.absent_embedding,
        projects_pointer_times=settings.pointer_times == "projected",
    )
    return model.eval(), policy


def _check_strides(backbone: Any, where: str) -> None:
    if backbone.strides != STRIDES[backbone.mode]:
        raise ConfigError(
            f"the backbone makes maps at strides {backbone.strides}, and in its mode, {backbone.mode}, the "
            f"engine needs {STRIDES[backbone.mode]}",
            where=f"{where}, in 'backbone'",
        )


def _build_space_time(
    settings: EngineSettings, widths: SpaceTimeSettings, backbone: Any, where: str
) -> tuple[SpaceTimeModel, BankPolicy]:
    unread = settings.model_fields_set & {
        "compressor",
        "memory_attention",
        "absent_embedding",
        "pointer_times",
    }
    if unread:
        raise ConfigError(f"a space-time model has no '{min(unread)}'", where=where, hint="leave it out")
    _check_strides(backbone, where)
    if backbone.mode != "pyramid":
        raise ConfigError("a space-time model needs a backbone that makes a pyramid", where=where)
    policy = build_part(BANK_POLICIES, "bank", settings.bank, where)
    model = SpaceTimeModel(
        backbone=backbone,
        image_size=settings.image_size,
        given_slot=policy.recent_frames,
        **widths.model_dump(),
    )
    return model.eval(), policy


def _check_fit(
    settings: EngineSettings, compressor: Compressor | None, attention: MemoryAttention, where: str
) -> None:
    left = None if compressor is None else compressor.window_latents
    read = attention.window_latents
    reader, writer = settings.memory_attention["name"], settings.compressor["name"]
    if read is None and left is not None:
        raise ConfigError(
            f"memory attention '{reader}' reads a token for each cell of the frame, which the compressor "
            f"'{writer}' does not leave",
            where=where,
            hint=f"memory_attention: {{name: latent, window_latents: {left}}}, or compressor: {{name: none}}",
        )
    if read is not None and left is None:
        raise ConfigError(
            f"memory attention '{reader}' reads compressed memories, and nothing compresses them",
            where=where,
            hint="name a compressor, or another memory attention (rotary, pooled)",
        )
    if read != left:
        raise ConfigError(
            f"the compressor leaves {left} window latents, the memory attention expects {read}", where=where
        )
    side = settings.image_size // 16
    if compressor is not None and side % compressor.grid_multiple:
        raise ConfigError(
            f"an image size of {settings.image_size} gives a grid of {side}, which the "
            f"{compressor.grid_multiple} windows a side of '{writer}' do not divide",
            where=where,
            hint=f"use a multiple of {16 * compressor.grid_multiple}",
        )


def expected_shapes(settings: EngineSettings, where: str) -> dict[str, tuple[int, ...]]:
    """Key to shape of every weight a checkpoint for these settings must have; nothing is allocated."""
    with torch.device("meta"):
        model, _ = build_model(settings, where)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}
