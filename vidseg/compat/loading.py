"""Loads trackers, and the models that wrap them, from official configurations and published models."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import yaml

from vidseg.compat.calls import CallError
from vidseg.compat.model import OPTIONS, SAM2Base
from vidseg.errors import ConfigError, unknown
from vidseg.trackers.registry import load, tracker_names
from vidseg.trackers.weights import PUBLISHED, cached_path, read_checkpoint, recognise, shapes_of

Model = TypeVar("Model", bound=SAM2Base)
WEIGHT_FILES = ("*.pt", "*.pth", "model.safetensors")


def build(
    kind: type[Model],
    config_file: str,
    ckpt_path: Any,
    device: Any,
    mode: str,
    overrides: Sequence[str],
    apply_postprocessing: bool,
    options: Mapping[str, Any],
) -> Model:
    """A model of the given kind, from the arguments of `build_sam2`."""
    if mode != "eval":
        raise CallError(f"mode '{mode}'", hint="'eval'; training is vidseg train CONFIG")
    if not apply_postprocessing:
        raise CallError(
            "apply_postprocessing=False cannot be had: unstable masks are always replaced",
            hint="leave it out; predictor.fill_hole_area = 0 leaves holes",
        )
    tracker = load(tracker_name(config_file), weights=ckpt_path, device=str(device), **options)
    model = kind(tracker)
    for override in overrides:
        _apply(model, override)
    return model


def tracker_name(config_file: str) -> str:
    """The name of our tracker for an official configuration (with or without folder and suffix), else as
    given."""
    stem = PurePosixPath(config_file.replace(os.sep, "/")).name.removesuffix(".yaml")
    for name, wanted in PUBLISHED.items():
        if wanted.official_config == stem:
            return name
    return config_file if Path(config_file).is_file() else stem


def _apply(model: SAM2Base, override: str) -> None:
    key, has_value, text = override.partition("=")
    name = key.lstrip("+").removeprefix("model.")
    if not has_value or name not in OPTIONS:
        raise CallError(
            f"the override '{override}' is not known", hint=f"++model.NAME=VALUE of {', '.join(OPTIONS)}"
        )
    setattr(model, name, yaml.safe_load(text))


def of_published(build: Callable[..., Model], model_id: str, options: Mapping[str, Any]) -> Model:
    """The model that a builder makes of a published model, or of a folder that holds one.

    Raises:
        CallError: there are no weights in the folder.
        ConfigError: no such model is known.
    """
    folder, found = Path(model_id), None
    name = folder.name.lower().removesuffix("-hf")
    if folder.is_dir():
        found = _weights_in(folder)
        if found is None:
            raise CallError(f"there are no weights in '{model_id}'", hint=f"one of {', '.join(WEIGHT_FILES)}")
        layout = recognise(shapes_of(read_checkpoint(found)))
        if layout is not None and layout.trackers and name not in layout.trackers:
            name = layout.trackers[0]  # the name of a folder says nothing
    elif name not in tracker_names():
        raise ConfigError(unknown("model", folder.name, tracker_names()), where=f"'{model_id}'")
    elif name in PUBLISHED and cached_path(name) is None:
        found = _in_hub_cache(model_id)
    return build(name, **{"ckpt_path": found, **options})


def _weights_in(folder: Path) -> Path | None:
    return next((path for pattern in WEIGHT_FILES for path in sorted(folder.glob(pattern))), None)


def _in_hub_cache(model_id: str) -> Path | None:
    """Weights that the client of the Hugging Face hub downloaded earlier; nothing is downloaded here."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    snapshots = (cache / f"models--{model_id.replace('/', '--')}" / "snapshots").glob("*")
    newest_first = sorted(snapshots, key=lambda path: path.stat().st_mtime, reverse=True)
    return next((found for folder in newest_first if (found := _weights_in(folder))), None)
