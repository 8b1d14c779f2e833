"""Builds SAM 2's model from a YAML: a backbone, a neck, memory attention, and a compressor of memories."""

from __future__ import annotations

from pydantic import Field

from vidseg.errors import ConfigError
from vidseg.memory.attention import MemoryAttention
from vidseg.memory.bank import BankPolicy
from vidseg.memory.compressor import Compressor
from vidseg.memory.encoder import MemoryEncoder
from vidseg.memory.widths import CHANNELS, MEMORY_CHANNELS
from vidseg.trackers.backbones.single_scale_neck import SingleScaleNeck
from vidseg.trackers.image_encoder import ImageEncoder, PyramidNeck
from vidseg.trackers.parts import COMPRESSORS, MEMORY_ATTENTIONS, build_part
from vidseg.trackers.sam2.video_model import Sam2VideoModel
from vidseg.trackers.settings import EngineSettings, Given
from vidseg.validation import Strict


class Sam2Settings(Strict):
    """Settings of `model: {name: sam2}` in a YAML."""

    memory_slots: int = Field(default=7, ge=2)
    """How many learned time codes spatial memories have, with that of conditioning frames; published
    checkpoints have 7. A bank may use fewer."""


def build_sam2(model: Sam2Settings, given: Given) -> Sam2VideoModel:
    """The model, with weights not yet loaded.

    Raises:
        ConfigError: parts do not fit each other.
    """
    settings, where, backbone = given.settings, given.where, given.backbone
    compressor = build_part(COMPRESSORS, "compressor", settings.compressor, where)
    attention = build_part(MEMORY_ATTENTIONS, "memory_attention", settings.memory_attention, where)
    _check_fit(settings, compressor, attention, where)
    given.check_strides()
    slots = given.policy.recent_frames + 1
    to_train = f"; or for a model to be trained, model: {{name: sam2, memory_slots: {slots}}}"
    check_time_codes(given.policy, model.memory_slots, where, or_else=to_train)
    is_pyramid = backbone.mode == "pyramid"
    neck = PyramidNeck(backbone.channels, CHANNELS) if is_pyramid else SingleScaleNeck(backbone.channels[0])
    return Sam2VideoModel(
        image_encoder=ImageEncoder(given.module, neck),
        memory_attention=attention,
        memory_encoder=MemoryEncoder(CHANNELS, MEMORY_CHANNELS),
        compressor=compressor,
        image_size=settings.image_size,
        memory_slots=model.memory_slots,
        use_high_res_features=is_pyramid,
        has_absent_embedding=settings.absent_embedding,
        projects_pointer_times=settings.pointer_times == "projected",
    )


def check_time_codes(policy: BankPolicy, memory_slots: int, where: str, *, or_else: str = "") -> None:
    """Check that a model has a time code for each memory that a bank reads.

    Args:
        memory_slots: see `Sam2Settings`.
        or_else: what mends it besides a smaller bank, for the message.

    Raises:
        ConfigError: it has fewer.
    """
    recent, most = policy.recent_frames, memory_slots - 1
    if recent > most:
        raise ConfigError(
            f"the bank reads {recent} recent memories, and the model has time codes for {most}",
            where=f"{where}, in 'bank'",
            hint=f"recent_frames: {most} or fewer{or_else}",
        )


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
