"""From a YAML to a model: the tables of parts, their settings, and one function that builds the whole.

A part's settings are a typed model beside the function that builds it; unknown names and keys, and parts that
do not go together, are refused here with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from vidseg.errors import ConfigError, unknown
from vidseg.memory.attention import (
    MemoryAttention,
    MemoryAttentionLayer,
    MemoryCrossAttention,
    RotaryCrossAttention,
)
from vidseg.memory.bank import BankPolicy, RecentFrames
from vidseg.memory.encoder import MemoryEncoder
from vidseg.trackers.backbones.single_scale_neck import SingleScaleNeck
from vidseg.trackers.image_encoder import ImageEncoder, PyramidNeck
from vidseg.trackers.model import CHANNELS, MEMORY_CHANNELS, VideoModel
from vidseg.validation import Strict, parse


@dataclass(frozen=True)
class Part:
    """One row of a table: the model of the part's settings, and what builds it from them."""

    settings: type[Strict]
    build: Callable[[Any], Any]


class HieraSettings(Strict):
    embed_dim: int = Field(ge=1)
    heads: int = Field(ge=1)
    stages: list[int] = Field(min_length=4, max_length=4)
    global_blocks: list[int]
    windows: list[int] = Field(default=[8, 4, 14, 7], min_length=4, max_length=4)
    background_size: int = Field(default=7, ge=1)
    """Side of the learned position embedding."""


def _hiera(settings: HieraSettings) -> nn.Module:
    from vidseg.trackers.backbones.hiera import Hiera

    return Hiera(
        embed_dim=settings.embed_dim,
        heads=settings.heads,
        stages=settings.stages,
        global_blocks=settings.global_blocks,
        windows=settings.windows,
        background_hw=(settings.background_size, settings.background_size),
    )


class RepViTSettings(Strict):
    variant: str = "m1"


def _repvit(settings: RepViTSettings) -> nn.Module:
    from vidseg.trackers.backbones.repvit import VARIANTS, RepViT

    _check_name("RepViT", settings.variant, VARIANTS)
    return RepViT(settings.variant)


class PlainViTSettings(Strict):
    variant: str


def _plain_vit(settings: PlainViTSettings) -> nn.Module:
    from vidseg.trackers.backbones.plain_vit import VARIANTS, PlainViT

    _check_name("plain ViT", settings.variant, VARIANTS)
    return PlainViT(settings.variant)


def _check_name(kind: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise ConfigError(unknown(kind, name, known))


class NoSettings(Strict):
    pass


class PerceiverSettings(Strict):
    global_latents: int = Field(default=256, ge=1)
    window_latents: int = Field(default=256, ge=1)
    layers: int = Field(default=2, ge=1)


def _perceiver(settings: PerceiverSettings) -> nn.Module:
    from vidseg.memory.perceiver import SpatialPerceiver

    if math.isqrt(settings.window_latents) ** 2 != settings.window_latents:
        raise ConfigError(f"window_latents {settings.window_latents} is not a square number")
    return SpatialPerceiver(
        global_latents=settings.global_latents,
        window_latents=settings.window_latents,
        num_layers=settings.layers,
    )


class AttentionSettings(Strict):
    layers: int = Field(default=4, ge=1)
    feedforward: int = Field(default=2048, ge=1)


class PooledSettings(AttentionSettings):
    size_term: Literal["logits", "keys"] = "logits"
    """Where the number of pooled cells counts: EfficientTAM's `/1` configurations, or its `/2` ones."""


class LatentSettings(AttentionSettings):
    window_latents: int = Field(default=256, ge=1)
    """As many as the perceiver has."""


def _memory_attention(
    settings: AttentionSettings, cross_attention: Callable[[], MemoryCrossAttention]
) -> MemoryAttention:
    layers = [
        MemoryAttentionLayer(CHANNELS, settings.feedforward, cross_attention())
        for _ in range(settings.layers)
    ]
    return MemoryAttention(layers, CHANNELS)


def _rotary(settings: AttentionSettings) -> MemoryAttention:
    return _memory_attention(settings, lambda: RotaryCrossAttention(CHANNELS, MEMORY_CHANNELS))


def _pooled(settings: PooledSettings) -> MemoryAttention:
    from vidseg.memory.pooling import PooledCrossAttention

    return _memory_attention(
        settings, lambda: PooledCrossAttention(CHANNELS, MEMORY_CHANNELS, settings.size_term)
    )


def _latent(settings: LatentSettings) -> MemoryAttention:
    from vidseg.memory.perceiver import LatentCrossAttention

    return _memory_attention(
        settings, lambda: LatentCrossAttention(CHANNELS, MEMORY_CHANNELS, settings.window_latents)
    )


class RecentFramesSettings(Strict):
    recent_frames: int = Field(default=6, ge=1)
    max_pointers: int = Field(default=16, ge=2)
    max_conditioning: int | None = Field(default=None, ge=2)
    stride: int = Field(default=1, ge=1)


def _recent_frames(settings: RecentFramesSettings) -> BankPolicy:
    return RecentFrames(**settings.model_dump())


class SimilarityPruningSettings(RecentFramesSettings):
    pruned_frames: int = Field(default=2, ge=1)
    frees_pruned: bool = False


def _similarity_pruning(settings: SimilarityPruningSettings) -> BankPolicy:
    from vidseg.memory.policies.similarity_pruning import SimilarityPruning

    if settings.pruned_frames > settings.recent_frames - 1:
        raise ConfigError(
            f"pruned_frames {settings.pruned_frames} of {settings.recent_frames}: the newest frame stays",
            hint=f"at most {settings.recent_frames - 1}",
        )
    return SimilarityPruning(**settings.model_dump())


BACKBONES: dict[str, Part] = {
    "hiera": Part(HieraSettings, _hiera),
    "plain-vit": Part(PlainViTSettings, _plain_vit),
    "repvit": Part(RepViTSettings, _repvit),
}
COMPRESSORS: dict[str, Part] = {
    "none": Part(NoSettings, lambda _: None),
    "perceiver": Part(PerceiverSettings, _perceiver),
}
MEMORY_ATTENTIONS: dict[str, Part] = {
    "latent": Part(LatentSettings, _latent),
    "pooled": Part(PooledSettings, _pooled),
    "rotary": Part(AttentionSettings, _rotary),
}
BANK_POLICIES: dict[str, Part] = {
    "recent-frames": Part(RecentFramesSettings, _recent_frames),
    "similarity-pruning": Part(SimilarityPruningSettings, _similarity_pruning),
}

READS: dict[str, set[str]] = {"none": {"rotary", "pooled"}, "perceiver": {"latent"}}
"""Which memory attentions can read what each compressor leaves: cells of the grid, or latents."""


class EngineSettings(Strict):
    """A tracker's YAML, without its `kind`; a part is a mapping with its `name` and its settings."""

    family: Literal["sam2", "sam2.1", "edgetam", "efficienttam", "surgical-sam2", "own"] = "own"
    """Whose checkpoints fit."""
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
    keeps_corrections: bool = False
    """A corrected frame keeps its mask when tracking comes past it again, as in SAM 2's first predictor, on
    which EdgeTAM and Surgical SAM 2 are built; else it is tracked anew (SAM 2.1, EfficientTAM)."""


def build_part(table: Mapping[str, Part], kind: str, entry: Mapping[str, Any], where: str) -> Any:
    """One part from its mapping in the YAML.

    Raises:
        ConfigError: the name is not in the table, or a key or value does not fit.
    """
    name = entry.get("name")
    if name not in table:
        raise ConfigError(unknown(kind.replace("_", " "), name, table), where=f"{where}, field '{kind}.name'")
    part = table[str(name)]
    rest = {key: value for key, value in entry.items() if key != "name"}
    settings = parse(part.settings, rest, where=f"{where}, in '{kind}'", error=ConfigError)
    return part.build(settings)


def build_model(settings: EngineSettings, where: str) -> tuple[VideoModel, BankPolicy]:
    """The whole graph, top to bottom, with weights not yet loaded.

    Raises:
        ConfigError: a part is unknown or does not fit the others.
    """
    backbone = build_part(BACKBONES, "backbone", settings.backbone, where)
    compressor = build_part(COMPRESSORS, "compressor", settings.compressor, where)
    attention = build_part(MEMORY_ATTENTIONS, "memory_attention", settings.memory_attention, where)
    policy = build_part(BANK_POLICIES, "bank", settings.bank, where)
    _check_fit(settings, where)
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


def _check_fit(settings: EngineSettings, where: str) -> None:
    compressor, attention = settings.compressor["name"], settings.memory_attention["name"]
    if attention not in READS[compressor]:
        raise ConfigError(
            f"memory attention '{attention}' cannot read what the compressor '{compressor}' leaves",
            where=where,
            hint=f"with it goes: {', '.join(sorted(READS[compressor]))}",
        )
    latents = (
        settings.compressor.get("window_latents", 256),
        settings.memory_attention.get("window_latents", 256),
    )
    if compressor == "perceiver" and latents[0] != latents[1]:
        raise ConfigError(
            f"the compressor has {latents[0]} window latents, the memory attention expects {latents[1]}",
            where=where,
        )
    if compressor == "perceiver" and settings.image_size // 16 % math.isqrt(latents[0]):
        raise ConfigError(
            f"an image size of {settings.image_size} gives a grid of {settings.image_size // 16}, which "
            f"{math.isqrt(latents[0])} windows a side do not divide",
            where=where,
            hint=f"use a multiple of {16 * math.isqrt(latents[0])}",
        )


def expected_shapes(settings: EngineSettings, where: str) -> dict[str, tuple[int, ...]]:
    """Key to shape of every weight a checkpoint for these settings must have; nothing is allocated."""
    with torch.device("meta"):
        model, _ = build_model(settings, where)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}
