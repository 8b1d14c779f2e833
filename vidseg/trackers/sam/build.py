"""Builds image models of the first SAM's kind from a YAML: a backbone and a neck."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from vidseg.errors import ConfigError
from vidseg.memory.widths import CHANNELS
from vidseg.trackers.backbones.single_scale_neck import SingleScaleNeck
from vidseg.trackers.image_encoder import ImageEncoder
from vidseg.trackers.image_settings import GivenImage
from vidseg.trackers.sam.answers import Choice, Ranks
from vidseg.trackers.sam.image_model import SamImageModel
from vidseg.validation import Strict


class SamSettings(Strict):
    """Settings of `model: {name: sam}` in a YAML."""

    neck: Literal["sam", "none"] = "sam"
    """'sam': two convolutions bring the backbone's map to 256 channels. 'none': the backbone does so itself.
    """
    prompt_size: int | None = Field(default=None, ge=32)
    """Side of the square, in pixels, on which the prompt encoder places points; None: that of the input. The
    framing 'long-side' has the same."""
    choice: Choice = "predicted-iou"
    """What the best of several candidates is chosen by."""
    ranks: Ranks = "three"
    """Which candidates an ambiguous prompt is answered with: the 'three' that are meant for it, or 'all'.
    """
    norm_eps: float = Field(default=1e-5, gt=0)
    """The epsilon of the layer norms in the mask decoder's transformer; EfficientViT-SAM's is 1e-6."""
    single_mask: bool = True
    """Whether candidate 0 answers an unambiguous prompt; else one of the other three always does (TinySAM).
    """


def build_sam(settings: SamSettings, given: GivenImage) -> SamImageModel:
    """The model, with weights not yet loaded.

    Raises:
        ConfigError: the backbone makes maps that the model does not take.
    """
    channels = given.channels_of_one_map()
    if settings.neck == "none" and channels != CHANNELS:
        raise ConfigError(
            f"the backbone makes a map of {channels} channels; the model takes {CHANNELS}",
            where=f"{given.where}, in 'backbone'",
            hint="neck: sam brings it to that width",
        )
    neck: nn.Module = SingleScaleNeck(channels) if settings.neck == "sam" else nn.Identity()
    model = SamImageModel(
        image_encoder=ImageEncoder(given.module, neck),
        image_size=given.image_size,
        stride=given.backbone.strides[-1],
        prompt_size=settings.prompt_size or given.image_size,
        choice=settings.choice,
        single_mask=settings.single_mask,
        ranks=settings.ranks,
    )
    for module in model.mask_decoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = settings.norm_eps
    return model
