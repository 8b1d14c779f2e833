"""The image segmenter of a YAML of `kind: onnx`, as `vidseg export` writes it beside its graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidseg.errors import ConfigError
from vidseg.trackers.image.build import BuiltImage, build_framing
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.onnx.build import CANNOT, IMAGE_MODELS, OnnxImageSettings, model_over, open_graphs
from vidseg.trackers.options import TrackerOptions
from vidseg.validation import parse


def build_exported(name: str, config: Mapping[str, Any], asked: TrackerOptions) -> BuiltImage:
    """The segmenter of a YAML.

    Raises:
        ConfigError: the configuration or an option is wrong.
        CheckpointError: a graph is missing, damaged, or does not run here.
    """
    where = f"model '{name}'"
    asked.require_taken(set(TrackerOptions.model_fields) - set(CANNOT), by=name, why=CANNOT)
    settings = parse(OnnxImageSettings, dict(config), where=where, error=ConfigError)
    graphs = open_graphs(name, config, asked, settings, where)
    model = model_over(graphs, IMAGE_MODELS)
    segmenter = ImageSegmenter(
        name, model, build_framing(settings, where), weights_sha256=graphs.facts["weights_sha256"]
    )
    return BuiltImage(segmenter, settings)
