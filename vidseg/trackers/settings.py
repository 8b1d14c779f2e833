"""The YAML of an engine tracker, and what the builder of a model receives of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field
from torch import nn

from vidseg.errors import ConfigError
from vidseg.memory.bank import BankPolicy
from vidseg.trackers.image_encoder import STRIDES, Backbone
from vidseg.trackers.low_bits_settings import MayHaveLowBits
from vidseg.trackers.options import EngineOptions
from vidseg.validation import Strict


class FastSettings(Strict):
    """What the option `fast` changes in a tracker's YAML: these keys of these parts."""

    backbone: dict[str, Any] = Field(default={})
    bank: dict[str, Any] = Field(default={})
    memory_attention: dict[str, Any] = Field(default={})


class EngineSettings(MayHaveLowBits):
    """A tracker's YAML, without its `kind`; a part is a mapping with its `name` and its settings."""

    family: Literal["sam2", "sam2.1", "edgetam", "efficienttam", "surgical-sam2", "own"] = "own"
    """The family whose checkpoints fit."""
    weights: str | None = Field(default=None, exclude=True)
    """A file of weights, relative to the YAML's folder; None: those published for the tracker's name."""
    image_size: int = Field(default=1024, ge=64, multiple_of=32)
    """Side of the square model input."""
    backbone: dict[str, Any]
    model: dict[str, Any] = Field(default={"name": "sam2"})
    """The model that joins the parts. `compressor`, `memory_attention`, `absent_embedding` and
    `pointer_times` are for the model 'sam2' alone."""
    compressor: dict[str, Any] = Field(default={"name": "none"})
    memory_attention: dict[str, Any] = Field(default={"name": "rotary"})
    bank: dict[str, Any] = Field(default={"name": "recent-frames"})
    absent_embedding: bool = False
    """Whether the memory of an absent object is marked (SAM 2.1)."""
    pointer_times: Literal["none", "projected"] = "none"
    """Time code of object pointers: none (SAM 2), or signed and projected (SAM 2.1)."""
    bfloat16_is_proven: bool = Field(default=False, exclude=True)
    """Whether masks were found the same in bfloat16 (docs/speed.md), so that `dtype: auto` may choose it."""
    keeps_corrections: bool = False
    """Whether a corrected frame keeps its mask when tracking passes it again, as in SAM 2's first predictor,
    on which EdgeTAM and Surgical SAM 2 are built; else it is tracked anew (SAM 2.1, EfficientTAM)."""
    objects_compete: bool = False
    """Whether what one object holds is not remembered as another one's (`vidseg.trackers.competing`). Bank
    policies that choose among candidates do without."""
    close_up: bool = False
    """Whether objects are followed in the part of the picture around them; for models that answer prompts so,
    too (`vidseg.trackers.model.LooksCloser`)."""
    fast: FastSettings = Field(
        default=FastSettings(bank={"recent_frames": 3, "stride": 2}, memory_attention={"pools_frame": True}),
        exclude=True,
    )
    """What the option `fast` changes: memory attention reads four memories in place of seven, some of them
    from further back (source: sam2-lite, pablopigue/sam2-lite), and the frame itself pooled."""
    sampling: dict[str, Any] = Field(default={}, exclude=True)
    """Settings of samplers (`vidseg.samplers`) that fit the model's scores, where those of SAM do not."""
    discovery: dict[str, Any] = Field(default={}, exclude=True)
    """The same for discovery in videos, where a mask that is none costs more than one that comes late."""

    def with_options(self, asked: EngineOptions, where: str) -> EngineSettings:
        """These settings as the options change them; options left open leave them as they are.

        Raises:
            ConfigError: `fast` is asked of a tracker that has nothing to read less of.
        """
        changed = {"bank": dict(self.bank)}
        if asked.max_conditioning is not None:
            changed["bank"]["max_conditioning"] = asked.max_conditioning
        if asked.fast:
            if self.fast == FastSettings():
                raise ConfigError(
                    "the tracker has no faster way to read its memory", where=where, hint="leave 'fast' out"
                )
            # A model without some part refuses a YAML that speaks of it, so others are left alone.
            for name in FastSettings.model_fields:
                if part := getattr(self.fast, name):
                    changed[name] = changed.get(name, getattr(self, name)) | part
        return self.model_copy(update=changed)


@dataclass(frozen=True)
class Given:
    """What the builder of a model receives: settings, and parts that are built already."""

    settings: EngineSettings
    backbone: Backbone
    policy: BankPolicy
    where: str
    """The YAML, for messages."""

    @property
    def module(self) -> nn.Module:
        """The backbone, as a torch module."""
        assert isinstance(self.backbone, nn.Module)
        return self.backbone

    def check_strides(self) -> None:
        """Check that the backbone's maps have the strides that its mode promises.

        Raises:
            ConfigError: they have others.
        """
        mode = self.backbone.mode
        if tuple(self.backbone.strides) != STRIDES[mode]:
            raise ConfigError(
                f"the backbone makes maps at strides {self.backbone.strides}, and in its mode, {mode}, the "
                f"engine needs {STRIDES[mode]}",
                where=f"{self.where}, in 'backbone'",
            )
