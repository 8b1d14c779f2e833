"""The official builders: a configuration's name and a checkpoint to a predictor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import yaml

from vidseg.compat.calls import CallError
from vidseg.compat.model import OPTIONS, SAM2Base
from vidseg.compat.video_predictor import SAM2VideoPredictor
from vidseg.errors import ConfigError, unknown
from vidseg.trackers.registry import load, tracker_names
from vidseg.trackers.weights import PUBLISHED, cached_path, read_checkpoint, recognise, shapes_of

Model = TypeVar("Model", bound=SAM2Base)

HOLE_AREA = 8
"""What the official builder of video predictors sets, with `apply_postprocessing`."""
WEIGHT_FILES = ("*.pt", "*.pth", "model.safetensors")


def build_sam2(
    config_file: str,
    ckpt_path: str | os.PathLike[str] | None = None,
    device: Any = "auto",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **options: Any,
) -> SAM2Base:
    """A model for `SAM2ImagePredictor`.

    Args:
        config_file: an official configuration ('configs/sam2.1/sam2.1_hiera_l.yaml', 'sam2_hiera_t',
            'edgetam'), a tracker's name, or the YAML of a tracker.
        ckpt_path: a file of weights; None for those of the cache (`vidseg weights get`).
        device: 'auto' takes CUDA, then MPS, then the CPU; or a device of torch.
        hydra_overrides_extra: '++model.NAME=VALUE' for the options that `SAM2Base` lists.
        **options: of `vidseg.load`.

    Raises:
        CallError: an option that is not known or cannot be had.
        ConfigError, CheckpointError: see `vidseg.load`.
    """
    return _build(
        SAM2Base, config_file, ckpt_path, device, mode, hydra_overrides_extra, apply_postprocessing, options
    )


def build_sam2_video_predictor(
    config_file: str,
    ckpt_path: str | os.PathLike[str] | None = None,
    device: Any = "auto",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **options: Any,
) -> SAM2VideoPredictor:
    """A predictor for videos; holes of up to 8 low-res pixels are filled, as officially.

    Args:
        vos_optimized: compile the model; the first frames take minutes.

    The other arguments and the errors are those of `build_sam2`.
    """
    overrides = [f"++model.fill_hole_area={HOLE_AREA}", *hydra_overrides_extra]
    if vos_optimized:
        options = {"compile": True, **options}
    return _build(
        SAM2VideoPredictor, config_file, ckpt_path, device, mode, overrides, apply_postprocessing, options
    )


def build_sam2_hf(model_id: str, **options: Any) -> SAM2Base:
    """`build_sam2` by the name of a published model, 'facebook/sam2.1-hiera-large', or a folder that has it.

    Raises:
        CheckpointError: its weights are not on this machine; the hint says how to get them.
    """
    return _of_published(build_sam2, model_id, options)


def build_sam2_video_predictor_hf(model_id: str, **options: Any) -> SAM2VideoPredictor:
    """The same for videos."""
    return _of_published(build_sam2_video_predictor, model_id, options)


def _build(
    kind: type[Model],
    config_file: str,
    ckpt_path: Any,
    device: Any,
    mode: str,
    overrides: Sequence[str],
    apply_postprocessing: bool,
    options: Mapping[str, Any],
) -> Model:
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
    """Our name of an official configuration, which may be given with folders and suffix; else as it is."""
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


def _of_published(build: Callable[..., Model], model_id: str, options: Mapping[str, Any]) -> Model:
    folder, found = Path(model_id), None
    name = folder.name.lower().removesuffix("-hf")
    if folder.is_dir():
        found = _weights_in(folder)
        if found is None:
            raise CallError(f"there are no weights in '{model_id}'", hint=f"one of {', '.join(WEIGHT_FILES)}")
        layout = recognise(shapes_of(read_checkpoint(found)))
        if layout is not None and layout.trackers and name not in layout.trackers:
            name = layout.trackers[0]  # a folder may be called anything
    elif name not in tracker_names():
        raise ConfigError(unknown("model", folder.name, tracker_names()), where=f"'{model_id}'")
    elif name in PUBLISHED and cached_path(name) is None:
        found = _in_hub_cache(model_id)
    return build(name, **{"ckpt_path": found, **options})


def _weights_in(folder: Path) -> Path | None:
    return next((path for pattern in WEIGHT_FILES for path in sorted(folder.glob(pattern))), None)


def _in_hub_cache(model_id: str) -> Path | None:
    """Weights that the Hugging Face hub's client has downloaded before; nothing is downloaded here."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    snapshots = (cache / f"models--{model_id.replace('/', '--')}" / "snapshots").glob("*")
    newest_first = sorted(snapshots, key=lambda path: path.stat().st_mtime, reverse=True)
    return next((found for folder in newest_first if (found := _weights_in(folder))), None)
