"""The tracker that is trained: its engine in training form, never fused, with new or given weights."""

from __future__ import annotations

from typing import Any

import torch

from vidseg.errors import ConfigError
from vidseg.trackers.build import build_model, expected_shapes
from vidseg.trackers.engine import Engine
from vidseg.trackers.low_bits_settings import require_float
from vidseg.trackers.model import module_of
from vidseg.trackers.registry import read_config
from vidseg.trackers.settings import EngineSettings
from vidseg.training.settings import TrainSettings, is_within
from vidseg.validation import parse


def build_trainee(settings: TrainSettings) -> Engine:
    """The engine to train, on the CPU; its weights depend on `init`, or else on the seed alone.

    Raises:
        ConfigError: the tracker is unknown, is no engine tracker, or cannot take clips of this size.
        CheckpointError: the weights to start from are missing or do not fit.
    """
    name, config = read_engine_config(settings.tracker, "field 'tracker'")
    where = f"tracker '{name}'"
    sized = settings_of_sizes(config, settings.sizes(), where)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model, policy = build_model(sized, where)
        # Models build their embeddings of "none" as zeros; training starts them at random, as SAM 2 does.
        for parameter in module_of(model).parameters(recurse=False):
            torch.nn.init.trunc_normal_(parameter, std=0.02)
    if settings.init is not None:
        from vidseg.trackers.weights import check_state
        from vidseg.training.start import start_weights, weights_of_field

        with weights_of_field("init", "init"):
            state = start_weights(settings.init)
        # Parts to train of which the file knows nothing begin anew.
        fresh = [part for part in settings.only if not any(is_within(key, part) for key in state)]
        shapes = expected_shapes(sized, where)
        wanted = {key: shape for key, shape in shapes.items() if not any(is_within(key, p) for p in fresh)}
        check_state(wanted, state, where=settings.init, tracker=name)
        module_of(model).load_state_dict(state, strict=False)
    return Engine(model, policy)


def read_engine_config(tracker: str, field: str) -> tuple[str, dict[str, Any]]:
    """Name and YAML of an engine tracker, without its `kind` and the `options` of tracking.

    Args:
        field: the setting that names the tracker, for messages.

    Raises:
        ConfigError: the tracker is unknown, of another kind, or one of few bits.
    """
    name, config = read_config(tracker)
    kind = config.pop("kind", None)
    if kind != "engine":
        raise ConfigError(
            f"the tracker '{name}' is of kind '{kind}', which has nothing to train",
            where=field,
            hint="name a tracker of kind 'engine'",
        )
    require_float(config, field)
    config.pop("options", None)
    return name, config


def settings_of_sizes(config: dict[str, Any], sizes: list[int], where: str) -> EngineSettings:
    """The engine's settings for clips of the first of several sizes.

    Raises:
        ConfigError: the tracker cannot take one of the sizes.
    """
    made = []
    for size in sizes:
        sized = parse(
            EngineSettings,
            {**config, "image_size": size},
            where=f"{where} with clips of {size} pixels",
            error=ConfigError,
        )
        expected_shapes(sized, where)
        made.append(sized)
    return made[0]
