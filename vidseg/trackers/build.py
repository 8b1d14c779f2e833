"""From a YAML to a model: the tables of parts, their settings, and one function that builds the whole.

A part's settings are a typed model beside the function that builds it; unknown names and keys, and parts that
do not go together, are refused here with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from vidseg.errors import ConfigError, unknown
from vidseg.memory.attention import MemoryAttention, MemoryAttentionLayer, RotaryCrossAttention
from vidseg.memory.bank import BankPolicy, RecentFrames
from vidseg.memory.encoder import MemoryEncoder
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


class RotarySettings(Strict):
    layers: int = Field(default=4, ge=1)
    feedforward: int = Field(default=2048, ge=1)


def _rotary(settings: RotarySettings) -> MemoryAttention:
    layers = [
        MemoryAttentionLayer(CHANNELS, settings.feedforward, RotaryCrossAttention(CHANNELS, MEMORY_CHANNELS))
        for _ in range(settings.layers)
    ]
    return MemoryAttention(layers, CHANNELS)


class RecentFramesSettings(Strict):
    recent_frames: int = Field(default=6, ge=1)
    max_pointers: int = Field(default=16, ge=2)
    max_conditioning: int | None = Field(default=None, ge=2)
    stride: int = Field(default=1, ge=1)


def _recent_frames(settings: RecentFramesSettings) -> BankPolicy:
    return RecentFrames(**settings.model_dump())


BACKBONES: dict[str, Part] = {"hiera": Part(HieraSettings, _hiera)}
MEMORY_ATTENTIONS: dict[str, Part] = {"rotary": Part(RotarySettings, _rotary)}
BANK_POLICIES: dict[str, Part] = {"recent-frames": Part(RecentFramesSettings, _recent_frames)}


class EngineSettings(Strict):
    """A tracker's YAML, without its `kind`; a part is a mapping with its `name` and its settings."""

    family: Literal["sam2", "sam2.1", "edgetam", "efficienttam", "surgical-sam2", "own"] = "own"
    """Whose checkpoints fit."""
    image_size: int = Field(default=1024, ge=64, multiple_of=32)
    """Side of the square model input."""
    backbone: dict[str, Any]
    memory_attention: dict[str, Any] = Field(default={"name": "rotary"})
    bank: dict[str, Any] = Field(default={"name": "recent-frames"})
    absent_embedding: bool = False
    """The memory of an absent object is marked (SAM 2.1)."""
    pointer_times: Literal["none", "projected"] = "none"
    """Time code of object pointers: none (SAM 2), or signed and projected (SAM 2.1)."""


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
    policy = build_part(BANK_POLICIES, "bank", settings.bank, where)
    model = VideoModel(
        image_encoder=ImageEncoder(backbone, PyramidNeck(backbone.channels, CHANNELS)),
        memory_attention=build_part(MEMORY_ATTENTIONS, "memory_attention", settings.memory_attention, where),
        memory_encoder=MemoryEncoder(CHANNELS, MEMORY_CHANNELS),
        image_size=settings.image_size,
        memory_slots=policy.recent_frames + 1,
        has_absent_embedding=settings.absent_embedding,
        projects_pointer_times=settings.pointer_times == "projected",
    )
    return model.eval(), policy


def expected_shapes(settings: EngineSettings, where: str) -> dict[str, tuple[int, ...]]:
    """Key to shape of every weight a checkpoint for these settings must have; nothing is allocated."""
    with torch.device("meta"):
        model, _ = build_model(settings, where)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}
