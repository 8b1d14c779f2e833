"""The YAML of an image model, and what the builder of one receives of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator
from torch import nn

from vidseg.errors import ConfigError
from vidseg.trackers.image_encoder import Backbone
from vidseg.trackers.low_bits_settings import MayHaveLowBits


class ImageSettings(MayHaveLowBits):
    """A YAML of `kind: image`, without its `kind`; a part is a mapping with its `name` and its settings."""

    family: str = "own"
    """The family whose checkpoints fit: it says how their weights are named (`weights.renames`)."""
    weights: str | None = Field(default=None, exclude=True)
    """A file of weights, relative to the YAML's folder; None: those published for the model's name."""
    image_size: int = Field(default=1024, ge=32)
    """Side of the encoder's square input."""
    framing: dict[str, Any] = Field(default={"name": "long-side"})
    """How pictures are converted to that input, and answers back to the picture."""
    backbone: dict[str, Any] | None = None
    """Makes the feature maps; None for a model that is a network of its own."""
    model: dict[str, Any] = Field(default={"name": "sam"})
    following: dict[str, Any] = Field(default={"name": "flow-prior"})
    """How the model follows objects through videos; a name stands for a rule with its defaults."""

    @field_validator("following", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


@dataclass(frozen=True)
class GivenImage:
    """What the builder of an image model receives besides the model's own settings."""

    image_size: int
    """Side of the encoder's square input."""
    own_backbone: Backbone | None
    """The backbone that the YAML names, if it names one."""
    where: str
    """The YAML, for messages."""

    def channels_of_one_map(self) -> int:
        """The channels of the backbone's map.

        Raises:
            ConfigError: it makes several.
        """
        if len(self.backbone.channels) > 1:
            raise ConfigError(
                f"the backbone makes {len(self.backbone.channels)} maps; the model takes one",
                where=f"{self.where}, in 'backbone'",
                hint="mode: single-scale, where the backbone has it",
            )
        return self.backbone.channels[0]

    @property
    def backbone(self) -> Backbone:
        """The backbone, for models that cannot do without.

        Raises:
            ConfigError: the YAML names none.
        """
        if self.own_backbone is None:
            raise ConfigError("no backbone is named", where=self.where, hint="backbone: {name: ...}")
        return self.own_backbone

    @property
    def module(self) -> nn.Module:
        """The backbone, as a torch module."""
        assert isinstance(self.backbone, nn.Module)
        return self.backbone
