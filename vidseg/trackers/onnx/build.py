"""The tracker of a YAML of `kind: onnx`, as `vidseg export` writes it beside its graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from vidseg.errors import CheckpointError, ConfigError, unknown
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.following.tracker import CANNOT as WITHOUT_MEMORY
from vidseg.trackers.following.tracker import FollowingTracker
from vidseg.trackers.image.build import build_framing
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.model import ImageModel, MemoryModel
from vidseg.trackers.onnx.graphs import Graphs, read_facts
from vidseg.trackers.onnx.image_model import OnnxPicoModel, OnnxSamModel
from vidseg.trackers.onnx.model import OnnxSam2Model
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.parts import BANK_POLICIES, build_part
from vidseg.trackers.settings import EngineSettings
from vidseg.validation import Strict, parse

MEMORY_MODELS: dict[str, Callable[[Graphs], MemoryModel]] = {"sam2": OnnxSam2Model}
IMAGE_MODELS: dict[str, Callable[[Graphs], ImageModel]] = {"pico-sam2": OnnxPicoModel, "sam": OnnxSamModel}
"""What `model` says in facts.json -> the model that runs such graphs."""


class OnnxSettings(Strict):
    """What the YAML says besides the settings of the tracker that was exported.

    `weights` is the folder of the graphs; parts other than the bank and the framing are facts about the
    export.
    """

    providers: list[str] = Field(default=["CPUExecutionProvider"])
    """onnxruntime's execution providers, the preferred one first: CUDAExecutionProvider,
    CoreMLExecutionProvider, DmlExecutionProvider, ..."""


class OnnxEngineSettings(OnnxSettings, EngineSettings):
    """The YAML of a tracker with a memory."""


class OnnxImageSettings(OnnxSettings, ImageSettings):
    """The YAML of an image model, which also follows videos."""


_EXPORT_AGAIN = ("has exported graphs", "export the model again with this option, or leave it out")
_CANNOT = dict.fromkeys(("image_size", "compile", "dtype", "device"), _EXPORT_AGAIN)


def build_onnx(
    name: str, config: Mapping[str, Any], asked: TrackerOptions
) -> EngineTracker | FollowingTracker:
    """The tracker of a YAML.

    Raises:
        ConfigError: the configuration or an option is wrong.
        CheckpointError: a graph is missing, damaged, or does not run here.
    """
    where = f"tracker '{name}'"
    folder = asked.weights if isinstance(asked.weights, str) else config.get("weights")
    if not isinstance(folder, str):
        raise ConfigError("the folder of the graphs is not named", where=f"{where}, field 'weights'")
    model = read_facts(Path(folder)).get("model")
    if model in IMAGE_MODELS:
        return _following(name, config, asked, Path(folder))
    if model in MEMORY_MODELS:
        return _engine(name, config, asked, Path(folder))
    raise CheckpointError(
        unknown("exported model", str(model), {**IMAGE_MODELS, **MEMORY_MODELS}), where=folder
    )


def _engine(name: str, config: Mapping[str, Any], asked: TrackerOptions, folder: Path) -> EngineTracker:
    where = f"tracker '{name}'"
    _check_options(name, asked, _CANNOT)
    settings = parse(OnnxEngineSettings, dict(config), where=where, error=ConfigError)
    graphs = Graphs(folder, settings.providers)
    read = settings.with_bank(asked, where)
    policy = build_part(BANK_POLICIES, "bank", read.bank, where)
    model = MEMORY_MODELS[graphs.facts["model"]](graphs)
    return EngineTracker.around(name, read, model, policy, asked, graphs.facts["weights_sha256"])


def _following(name: str, config: Mapping[str, Any], asked: TrackerOptions, folder: Path) -> FollowingTracker:
    where = f"model '{name}'"
    _check_options(name, asked, {**_CANNOT, **WITHOUT_MEMORY})
    settings = parse(OnnxImageSettings, dict(config), where=where, error=ConfigError)
    graphs = Graphs(folder, settings.providers)
    model = IMAGE_MODELS[graphs.facts["model"]](graphs)
    segmenter = ImageSegmenter(name, model, build_framing(settings, where))
    return FollowingTracker.around(segmenter, settings, asked, graphs.facts["weights_sha256"])


def _check_options(name: str, asked: TrackerOptions, cannot: Mapping[str, tuple[str, str]]) -> None:
    asked.require_taken(set(TrackerOptions.model_fields) - set(cannot), by=name, why=cannot)
