"""The tracker of a YAML of `kind: onnx`, as `vidseg export` writes it beside its graphs.

Image models of that kind are built by `vidseg.trackers.image.exported`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from vidseg.errors import CheckpointError, ConfigError, unknown
from vidseg.trackers.engine_tracker import EngineTracker, check_close_up
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.model import ImageModel, MemoryModel
from vidseg.trackers.onnx.graphs import FACTS, Graphs, read_facts
from vidseg.trackers.onnx.image_model import OnnxPicoModel, OnnxSamModel
from vidseg.trackers.onnx.model import OnnxSam2Model, scales_keys_error
from vidseg.trackers.onnx.space_time import OnnxSpaceTimeModel
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.parts import BANK_POLICIES, build_part
from vidseg.trackers.sam2.build import check_time_codes
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


class OnnxImageSettings(OnnxSettings, ImageSettings):
    """The YAML of an exported image model."""


_Settings = OnnxEngineSettings | OnnxImageSettings


_OF_THE_EXPORT = ("has exported graphs", "give it to `vidseg export` of the model, or leave it out")
_OF_TORCH = ("has exported graphs, which onnxruntime runs as they are", "leave it out")
CANNOT = {
    **dict.fromkeys(("image_size", "dtype"), _OF_THE_EXPORT),
    **dict.fromkeys(("compile", "graphs", "encoder_products"), _OF_TORCH),
}
"""Options that exported graphs cannot honour -> what to say of the tracker, and how to mend it."""


def folder_of(name: str, config: Mapping[str, Any], asked: TrackerOptions) -> Path:
    """The folder of a YAML's graphs.

    Raises:
        ConfigError: it is not named, a file, or weights are given in place of it.
    """
    if isinstance(asked.weights, Mapping):
        raise ConfigError(
            f"the graphs of '{name}' hold their weights, and take no others",
            hint="leave the weights out, or export the model with them: vidseg export NAME --weights FILE",
        )
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


M = TypeVar("M")


def open_graphs(
    name: str, config: Mapping[str, Any], asked: TrackerOptions, settings: _Settings, where: str
) -> Graphs:
    """The graphs of a YAML, which has to agree with them.

    Args:
        settings: what is read from `config`.

    Raises:
        ConfigError: the device is none of onnxruntime's, or the YAML says of the model what its graphs are
            not.
        CheckpointError: see `Graphs`.
    """
    graphs = Graphs(folder_of(name, config, asked), _providers(settings, asked.device, where))
    size = graphs.facts["image_size"]
    if settings.image_size != size:
        raise ConfigError(
            f"the YAML says image_size: {settings.image_size}, and its graphs are for {size}",
            where=where,
            hint="export the model again: vidseg export NAME --image-size S",
        )
    if settings.low_bits is not None:
        raise ConfigError(
            "the YAML says 'low_bits', which exported graphs do not have",
            where=where,
            hint="vidseg compress NAME --int8 makes graphs of eight bits",
        )
    return graphs


def _providers(settings: OnnxSettings, device: str, where: str) -> Sequence[str]:
    """The providers of a YAML; the CPU's alone where that device is asked for."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device != "auto":
        raise ConfigError(
            f"exported graphs run on onnxruntime's providers, not on the device '{device}'",
            where=where,
            hint="leave it out, and name providers in the YAML: providers: [CUDAExecutionProvider, "
            "CPUExecutionProvider]",
        )
    return settings.providers


def model_over(graphs: Graphs, table: Mapping[str, Callable[[Graphs], M]]) -> M:
    """The model that runs graphs.

    Raises:
        CheckpointError: facts.json does not describe them.
    """
    try:
        return table[graphs.facts["model"]](graphs)
    except (KeyError, TypeError, ValueError) as error:
        what = f"they lack {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(
            f"the facts do not describe the graphs: {what}",
            where=str(graphs.folder / FACTS),
            hint="export the model again",
        ) from None


def build_onnx(name: str, config: Mapping[str, Any], asked: TrackerOptions) -> EngineTracker:
    """The tracker of a YAML whose model has a memory.

    Raises:
        ConfigError: the configuration or an option is wrong.
        CheckpointError: a graph is missing, damaged, or does not run here.
    """
    where = f"tracker '{name}'"
    asked.require_taken(set(TrackerOptions.model_fields) - set(CANNOT), by=name, why=CANNOT)
    settings = parse(OnnxEngineSettings, dict(config), where=where, error=ConfigError)
    graphs = open_graphs(name, config, asked, settings, where)
    read = settings.with_options(asked, where)
    policy = build_part(BANK_POLICIES, "bank", read.bank, where)
    model = model_over(graphs, MEMORY_MODELS)
    check_close_up(read, model, where)
    if isinstance(model, OnnxSam2Model):
        if getattr(policy, "scales_keys", False):
            raise scales_keys_error()
        check_time_codes(policy, model.memory_slots, where)
    return EngineTracker.around(name, read, model, policy, asked, graphs.facts["weights_sha256"])
