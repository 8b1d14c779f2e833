"""The tracker of a YAML of `kind: onnx`, as `vidseg export` writes it beside its graphs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from vidseg.errors import ConfigError
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.onnx.graphs import Graphs
from vidseg.trackers.onnx.model import OnnxSam2Model
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.parts import BANK_POLICIES, build_part
from vidseg.trackers.settings import EngineSettings
from vidseg.validation import parse


class OnnxSettings(EngineSettings):
    """What the YAML says besides the settings of the tracker that was exported.

    `weights` is the folder of the graphs; parts other than the bank are facts about the export.
    """

    providers: list[str] = Field(default=["CPUExecutionProvider"])
    """onnxruntime's execution providers, the preferred one first: CUDAExecutionProvider,
    CoreMLExecutionProvider, DmlExecutionProvider, ..."""


_EXPORT_AGAIN = ("has exported graphs", "export the model again with this option, or leave it out")
_CANNOT = dict.fromkeys(("image_size", "compile", "dtype", "device"), _EXPORT_AGAIN)


def build_onnx(name: str, config: Mapping[str, Any], asked: TrackerOptions) -> EngineTracker:
    """The tracker of a YAML.

    Raises:
        ConfigError: the configuration or an option is wrong.
        CheckpointError: a graph is missing, damaged, or does not run here.
    """
    where = f"tracker '{name}'"
    taken = set(TrackerOptions.model_fields) - set(_CANNOT)
    asked.require_taken(taken, by=name, why=_CANNOT)
    settings = parse(OnnxSettings, dict(config), where=where, error=ConfigError)
    folder = asked.weights if isinstance(asked.weights, str) else settings.weights
    if folder is None:
        raise ConfigError("the folder of the graphs is not named", where=f"{where}, field 'weights'")
    graphs = Graphs(Path(folder), settings.providers)
    read = settings.with_bank(asked, where)
    policy = build_part(BANK_POLICIES, "bank", read.bank, where)
    digest = graphs.facts["weights_sha256"]
    return EngineTracker.around(name, read, OnnxSam2Model(graphs), policy, asked, digest)
