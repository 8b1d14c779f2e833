"""The teacher: a frozen tracker with weights, in the form in which it tracks."""

from __future__ import annotations

from vidseg.errors import ConfigError
from vidseg.trackers.engine import Engine
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.model import module_of
from vidseg.trackers.registry import load
from vidseg.training.distil_settings import DistilSettings
from vidseg.training.start import weights_of_field
from vidseg.training.trainee import read_engine_config, settings_of_sizes


def build_teacher(settings: DistilSettings, sizes: list[int], device: str) -> Engine:
    """The teacher's engine, on the device.

    Args:
        sizes: sides of the clips, in pixels.

    Raises:
        ConfigError: the teacher is unknown, is no engine tracker, or cannot take clips of these sizes.
        CheckpointError: its weights are missing or do not fit.
    """
    name, config = read_engine_config(settings.teacher, "field 'distil.teacher'")
    settings_of_sizes(config, sizes, f"teacher '{name}'")
    with weights_of_field("distil.teacher", "teacher_weights"):
        tracker = load(settings.teacher, weights=settings.teacher_weights, device=device, image_size=sizes[0])
    if not isinstance(tracker, EngineTracker):
        raise ConfigError(f"the teacher '{name}' is no tracker of the engine", where="field 'distil.teacher'")
    module_of(tracker.engine.model).requires_grad_(False)
    return tracker.engine
