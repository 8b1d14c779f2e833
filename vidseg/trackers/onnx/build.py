"""The tracker of a YAML of `kind: onnx`, as `vidseg export` writes it beside its graphs.

Image models of that kind are built by `vidseg.trackers.image.exported`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from vidseg.errors import CheckpointError, ConfigError, unknown
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.model import ImageModel, MemoryModel
from vidseg.trackers.onnx.graphs import Graphs, read_facts
from vidseg.trackers.onnx.image_model import OnnxPicoModel, OnnxSamModel
from vidseg.trackers.onnx.model import OnnxSam2Model
from vidseg.trackers.onnx.space_time import OnnxSpaceTimeModel
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.parts import BANK_POLICIES, build_part
from vidseg.trackers.settings import EngineSettings
from vidseg.validation import Strict, parse

MEMORY_MODELS: dict[str, Callable[[Graphs], MemoryModel]] = {
    "sam2": OnnxSam2Model,
    "space-time": OnnxSpaceTimeModel,
}
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


_EXPORT_AGAIN = ("has exported graphs", "export the model again with this option, or leave it out")
CANNOT = dict.fromkeys(
    ("image_size", "compile", "graphs", "encoder_products", "dtype", "device"), _EXPORT_AGAIN
)
"""Options that exported graphs cannot honour -> what to say of the tracker, and how to mend it."""


def folder_of(name: str, config: Mapping[str, Any], asked: TrackerOptions) -> Path:
    """The folder of a YAML's graphs.

    Raises:
        ConfigError: it is not named, or a file.
    """
    folder = asked.weights if isinstance(asked.weights, str) else config.get("weights")
    if not isinstance(folder, str):
        raise ConfigError("the folder of the graphs is not named", where=f"'{name}', field 'weights'")
    if Path(folder).is_file():
        raise ConfigError(
            f"the graphs of '{name}' hold their weights, and '{folder}' is no folder of graphs",
            hint="leave the weights out, or export the model with them: vidseg export NAME --weights FILE",
        )
    return Path(folder)


def has_memory(folder: Path) -> bool:
    """Whether the model in a folder of graphs has a memory; else it is one of pictures.

    Raises:
        CheckpointError: the folder holds no exported model, or one that is not known.
    """
    model = str(read_facts(folder).get("model"))
    if model not in {**IMAGE_MODELS, **MEMORY_MODELS}:
        known = {**IMAGE_MODELS, **MEMORY_MODELS}
        raise CheckpointError(unknown("exported model", model, known), where=str(folder))
    return model in MEMORY_MODELS


def build_onnx(name: str, config: Mapping[str, Any], asked: TrackerOptions) -> EngineTracker:
    """The tracker of a YAML whose model has a memory.

    Raises:
        ConfigError: the configuration or an option is wrong.
        CheckpointError: a graph is missing, damaged, or does not run here.
    """
    where = f"tracker '{name}'"
    asked.require_taken(set(TrackerOptions.model_fields) - set(CANNOT), by=name, why=CANNOT)
    settings = parse(OnnxEngineSettings, dict(config), where=where, error=ConfigError)
    graphs = Graphs(folder_of(name, config, asked), settings.providers)
    read = settings.with_options(asked, where)
    policy = build_part(BANK_POLICIES, "bank", read.bank, where)
    model = MEMORY_MODELS[graphs.facts["model"]](graphs)
    return EngineTracker.around(name, read, model, policy, asked, graphs.facts["weights_sha256"])
