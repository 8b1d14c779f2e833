"""The image model that is trained, never fused, with new or given weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vidseg.errors import ConfigError
from vidseg.trackers.image.build import build_image_model, public_shapes
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.low_bits_settings import require_float
from vidseg.trackers.model import ImageModel, module_of
from vidseg.trackers.registry import read_config
from vidseg.trackers.weights.renames import Renames, renames_of
from vidseg.training.settings import TrainSettings
from vidseg.validation import parse


@dataclass(frozen=True)
class Student:
    """An image model under training; it stands where trackers have their engine."""

    model: ImageModel
    renames: Renames
    """How its weights are named in checkpoints."""


def build_student(settings: TrainSettings) -> Student:
    """The model to train, on the CPU; its weights depend on `init`, or else on the seed alone.

    Raises:
        ConfigError: the model is unknown, or cannot take pictures of this size.
        CheckpointError: the weights to start from are missing or do not fit.
    """
    name, config = read_config(settings.tracker)
    where = f"model '{name}'"
    require_float(config, "field 'tracker'")
    config = {key: value for key, value in config.items() if key not in ("kind", "options")}
    sizes = settings.sizes()
    if len(sizes) > 1:
        raise ConfigError(
            f"pictures of {sizes[0]} and {sizes[-1]} pixels, and {where} has one input size",
            where="field 'stages'",
        )
    sized = parse(ImageSettings, {**config, "image_size": sizes[0]}, where=where, error=ConfigError)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model, _ = build_image_model(sized, where)
    renames = renames_of(sized.family)
    if settings.init is not None:
        from vidseg.trackers.weights import check_state
        from vidseg.training.start import start_weights, weights_of_field

        with weights_of_field("init", "init"):
            state = start_weights(settings.init)
        check_state(public_shapes(sized, where), state, where=settings.init, tracker=name)
        module_of(model).load_state_dict(renames.from_public(state))
    return Student(model, renames)
