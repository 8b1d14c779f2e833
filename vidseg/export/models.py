"""Models and the functions that describe their parts."""

from __future__ import annotations

from typing import Any

from vidseg.errors import ConfigError
from vidseg.export.parts import Exportable
from vidseg.export.sam import describe_pico_sam2, describe_sam
from vidseg.export.sam2 import describe_sam2
from vidseg.export.space_time import describe_space_time
from vidseg.trackers.pico_sam2.image_model import PicoImageModel
from vidseg.trackers.sam.image_model import SamImageModel
from vidseg.trackers.sam2.video_model import Sam2VideoModel
from vidseg.trackers.space_time.video_model import SpaceTimeModel


def exportable(model: Any) -> Exportable:
    """The parts of a model.

    Raises:
        ConfigError: models of its class cannot be exported.
    """
    if isinstance(model, Sam2VideoModel):
        return describe_sam2(model)
    if isinstance(model, SamImageModel):
        return describe_sam(model)
    if isinstance(model, SpaceTimeModel):
        return describe_space_time(model)
    if isinstance(model, PicoImageModel):
        return describe_pico_sam2(model)
    raise ConfigError(f"models of the class {type(model).__name__} cannot be exported")
