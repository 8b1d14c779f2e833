"""Loads image segmenters by name; a YAML's `kind` says which builder reads it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import torch

from vidseg import opencv
from vidseg.errors import ConfigError
from vidseg.python_words import in_python
from vidseg.registry import Registry
from vidseg.trackers.choices import DEFAULT_TRACKER, DType
from vidseg.trackers.configs import read_config
from vidseg.trackers.exported import export_in_config
from vidseg.trackers.image.framing import Stretch
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.options import TrackerOptions
from vidseg.validation import parse

if TYPE_CHECKING:
    from vidseg.trackers.engine_tracker import EngineTracker

MEMORY_WEIGHTS = ("memory_", "maskmem_", "mask_downsample", "obj_ptr_", "no_obj_", "no_mem_pos_enc")
"""Prefixes of the names of weights that SAM 2 uses on videos only."""

SAM2_SAMPLING = {"pred_iou_thresh": 0.8}
"""What SAM 2's mask generator (sam2/automatic_mask_generator.py) sets otherwise than SAM's."""

ImageBuilder = Callable[[str, Mapping[str, Any], TrackerOptions], ImageSegmenter]
"""(name, mapping of the YAML without `kind` and `options`, options of the caller) -> segmenter."""


def _of_tracker(name: str, config: Mapping[str, Any], options: TrackerOptions) -> ImageSegmenter:
    from vidseg.trackers.engine_tracker import EngineTracker

    # What is proven of bfloat16 is proven of videos.
    config = {**config, "bfloat16_is_proven": False}
    return segmenter_of(EngineTracker.build(name, config, _completed(name, config, options)))


def _completed(name: str, config: Mapping[str, Any], options: TrackerOptions) -> TrackerOptions:
    """Options whose weights, if they are for pictures alone, are completed by zeros for the memory, which no
    picture reads."""
    from vidseg.trackers.build import EngineSettings, expected_shapes
    from vidseg.trackers.weights import IMAGE_HALF, read_checkpoint, recognise, shapes_of

    if options.weights is None:
        return options
    state = read_checkpoint(options.weights)
    if recognise(shapes_of(state)) is not IMAGE_HALF:
        return options
    settings = parse(EngineSettings, dict(config), where=f"tracker '{name}'", error=ConfigError)
    shapes = expected_shapes(settings, f"tracker '{name}'")
    memory = {key: torch.zeros(shape) for key, shape in shapes.items() if key.startswith(MEMORY_WEIGHTS)}
    return options.model_copy(update={"weights": {**memory, **state}})


def segmenter_of(tracker: EngineTracker) -> ImageSegmenter:
    """A segmenter with a tracker's model; the two share weights and device."""
    # Models of the SAM 2 family take pictures resized as by the official image predictor, our own ones as in
    # their training.
    resize: Literal["bilinear", "bicubic"] = "bicubic" if tracker.settings.family == "own" else "bilinear"
    model = tracker.engine.model
    sampling = tracker.settings.sampling
    if tracker.settings.family != "own":
        sampling = SAM2_SAMPLING | sampling
    return ImageSegmenter(
        tracker.name,
        model,
        Stretch(model.image_size, resize),
        sampling,
        tracker.settings.discovery,
        weights_sha256=tracker.weights_sha256,
        dtype_reason=tracker.dtype_reason,
    )


def _image(name: str, config: Mapping[str, Any], options: TrackerOptions) -> ImageSegmenter:
    from vidseg.trackers.image.build import build_image

    return build_image(name, config, options).segmenter


def _onnx(name: str, config: Mapping[str, Any], options: TrackerOptions) -> ImageSegmenter:
    from vidseg.trackers.image.exported import build_exported
    from vidseg.trackers.onnx.build import build_onnx, folder_of, has_memory

    if has_memory(folder_of(name, config, options)):
        return segmenter_of(build_onnx(name, config, options))
    return build_exported(name, config, options).segmenter


IMAGE_KINDS: Registry[ImageBuilder] = Registry(
    "image model kind", {"engine": _of_tracker, "image": _image, "onnx": _onnx}
)


def load_image(
    name_or_yaml: str | PathLike[str] = DEFAULT_TRACKER,
    *,
    weights: str | PathLike[str] | Mapping[str, torch.Tensor] | None = None,
    device: str = "auto",
    dtype: DType = "auto",
    allow_random_weights: bool = False,
) -> ImageSegmenter:
    """Build an image segmenter from a name or from a YAML file: masks of pictures, without memory.

    Args:
        name_or_yaml: a name that `vidseg models` lists, or the path of a .yaml file; every model that follows
            videos by the engine segments pictures, too.
        weights: a path (.pt, .safetensors) or a state dict under the official names; None for the config's
            own.
        device: 'auto' takes CUDA, then MPS, then the CPU.
        dtype: 'auto' is float32, which gives what the official code gives.
        allow_random_weights: build the model without weights. Its masks mean nothing.

    Raises:
        ConfigError: an unknown name or option, or a method that segments no pictures.
        CheckpointError: weights are missing or do not fit.
    """
    with in_python():
        return build_segmenter(
            TrackerOptions.of(
                name_or_yaml,
                weights=weights,
                device=device,
                dtype=dtype,
                allow_random_weights=allow_random_weights,
            )
        )


def configuration_of(name_or_yaml: str, segmenter: ImageSegmenter) -> dict[str, Any]:
    """What decides a segmenter's masks besides its weights, for records: its YAML, and the digests of graphs.

    Where weights lie decides nothing; what they are does, and files of runs are written over.
    """
    said = read_config(name_or_yaml)[1]
    said.pop("weights", None)
    return {**said, **export_in_config(segmenter.model)}


def build_segmenter(options: TrackerOptions) -> ImageSegmenter:
    """The image segmenter that options ask for.

    Raises:
        ConfigError, CheckpointError: see `load_image`.
    """
    opencv.check(warnings.warn)
    name, config = read_config(options.tracker)
    kind = config.pop("kind", None)
    config.pop("options", None)  # these options are about videos
    if kind not in IMAGE_KINDS:
        raise ConfigError(
            f"'{name}' is no image model (its kind is '{kind}')",
            hint=f"load_image takes the kinds {', '.join(IMAGE_KINDS)}, such as '{DEFAULT_TRACKER}'",
        )
    with torch.inference_mode(False):  # weights made in inference mode could not be changed later
        return IMAGE_KINDS.lookup(kind)(name, config, options)
