"""Trackers by name: one YAML per name in `vidseg/configs/`; code is imported only when it is asked for.

A YAML's `kind` says which builder reads it. A plug-in calls `register_tracker(kind, builder)` for a kind of
its own, and `register_tracker_config(name, path)` for a name.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from vidseg import opencv
from vidseg.python_words import in_python
from vidseg.registry import Registry
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.configs import TRACKERS as TRACKERS
from vidseg.trackers.configs import read_config as read_config
from vidseg.trackers.configs import register_tracker_config as register_tracker_config
from vidseg.trackers.configs import tracker_names as tracker_names

if TYPE_CHECKING:
    from vidseg.trackers.contract import Tracker
    from vidseg.trackers.options import TrackerOptions


Builder = Callable[[str, Mapping[str, Any], "TrackerOptions"], "Tracker"]
"""(name, mapping of the YAML without `kind` and `options`, options of the caller) -> tracker. It refuses
options that it cannot honour; see `TrackerOptions.require_taken`."""


def _engine(name: str, config: Mapping[str, Any], options: TrackerOptions) -> Tracker:
    import torch

    from vidseg.trackers.engine_tracker import EngineTracker

    # Scripts may load inside `torch.inference_mode()`, and weights made there could not be changed later.
    with torch.inference_mode(False):
        return EngineTracker.build(name, config, options)


def _flow(name: str, config: Mapping[str, Any], options: TrackerOptions) -> Tracker:
    from vidseg.trackers.flow import FlowTracker

    return FlowTracker.build(name, config, options)


def _onnx(name: str, config: Mapping[str, Any], options: TrackerOptions) -> Tracker:
    from vidseg.trackers.onnx.build import build_onnx, folder_of, has_memory

    if has_memory(folder_of(name, config, options)):
        return build_onnx(name, config, options)
    from vidseg.trackers.following import FollowingTracker

    return FollowingTracker.build_exported(name, config, options)


def _image(name: str, config: Mapping[str, Any], options: TrackerOptions) -> Tracker:
    import torch

    from vidseg.trackers.following import FollowingTracker

    with torch.inference_mode(False):  # as for `_engine`
        return FollowingTracker.build(name, config, options)


def _sam2_reference(name: str, config: Mapping[str, Any], options: TrackerOptions) -> Tracker:
    from vidseg.trackers.sam2_reference import Sam2ReferenceTracker

    return Sam2ReferenceTracker.build(name, config, options)


TRACKER_KINDS: Registry[Builder] = Registry(
    "tracker kind",
    {"engine": _engine, "flow": _flow, "image": _image, "onnx": _onnx, "sam2-reference": _sam2_reference},
)


def register_tracker(kind: str, builder: Builder) -> None:
    """Make `kind: KIND` in a tracker's YAML call `builder`.

    Raises:
        ConfigError: the kind is taken.
    """
    TRACKER_KINDS.register(kind, builder)


def load(name_or_yaml: str | PathLike[str] = DEFAULT_TRACKER, **options: Any) -> Tracker:
    """Build a tracker from its name or from a YAML file.

    Args:
        name_or_yaml: a name that `vidseg models` lists, or the path of a .yaml file.
        **options: the fields of `vidseg.trackers.options.TrackerOptions`: `weights`, `device`, `dtype`,
            `image_size`, `compile`, `allow_random_weights`, `fill_hole_area`, ...; and those of the tracker's
            kind alone. `dtype` is float32 where it is not given: what `load` returns leaves no record of its
            type, and in float32 it gives the same on every machine. Commands, which keep a record, take
            'auto'.

    Raises:
        ConfigError: an unknown name or option, or a configuration that does not hold together.
        CheckpointError: weights are missing or do not fit.
    """
    from vidseg.trackers.options import TrackerOptions

    with in_python():
        return build_tracker(TrackerOptions.of(name_or_yaml, **{"dtype": "float32", **options}))


def build_tracker(options: TrackerOptions) -> Tracker:
    """The tracker that options ask for.

    Raises:
        ConfigError, CheckpointError: see `load`.
    """
    opencv.check(warnings.warn)
    name, config = read_config(options.tracker)
    build = TRACKER_KINDS.lookup(config.pop("kind", None), where=f"{name}.yaml, field 'kind'")
    options = options.with_defaults(config.pop("options", {}), f"{name}.yaml, field 'options'")
    return build(name, config, options)
