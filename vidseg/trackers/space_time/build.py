"""Builds a space-time model from a YAML: a pyramid, and the widths of what is read and remembered."""

from __future__ import annotations

from pydantic import Field

from vidseg.errors import ConfigError
from vidseg.trackers.settings import Given
from vidseg.trackers.space_time.video_model import SpaceTimeModel
from vidseg.validation import Strict

OF_OTHERS = {"compressor", "memory_attention", "absent_embedding", "pointer_times"}
"""Settings of a tracker's YAML that a space-time model does not use."""


class SpaceTimeSettings(Strict):
    """Settings of `model: {name: space-time}` in a YAML; see the arguments of `SpaceTimeModel`."""

    key_channels: int = Field(default=64, ge=8)
    value_channels: int = Field(default=32, gt=16)
    context_channels: int = Field(default=64, ge=8, multiple_of=8)
    fine_channels: list[int] = Field(default=[16, 32], min_length=2, max_length=2)
    """Channels of the decoder at strides 2 and 4."""
    pyramid_channels: int = Field(default=96, ge=8, multiple_of=8)
    prompt_passes: int = Field(default=2, ge=1)
    prompt_decoder: bool = False


def build_space_time(model: SpaceTimeSettings, given: Given) -> SpaceTimeModel:
    """The model, with weights not yet loaded.

    Raises:
        ConfigError: a setting is for other models, or the backbone makes no pyramid.
    """
    if unread := given.settings.model_fields_set & OF_OTHERS:
        raise ConfigError(
            f"a space-time model has no '{min(unread)}'", where=given.where, hint="leave it out"
        )
    given.check_strides()
    if given.backbone.mode != "pyramid":
        raise ConfigError("a space-time model needs a backbone that makes a pyramid", where=given.where)
    return SpaceTimeModel(backbone=given.backbone, image_size=given.settings.image_size, **model.model_dump())
