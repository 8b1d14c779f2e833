"""The model to compress: built with its weights in training form, built anew with other widths, written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor, nn

from vidseg.errors import ConfigError
from vidseg.trackers.build import build_model
from vidseg.trackers.device import pick_device
from vidseg.trackers.image.build import build_image_model
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.load_weights import load_weights
from vidseg.trackers.low_bits_settings import require_float
from vidseg.trackers.model import module_of
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import read_config
from vidseg.trackers.settings import EngineSettings
from vidseg.trackers.weights.renames import renames_of
from vidseg.training.training_state import write_tensors
from vidseg.validation import parse
from vidseg.version import __version__

WEIGHTS, YAML = "weights.safetensors", "tracker.yaml"
Settings = EngineSettings | ImageSettings
Entries = Mapping[str, Mapping[str, Any]]
"""Key of the YAML -> what its mapping says otherwise."""


@dataclass(frozen=True)
class Source:
    """A tracker of the engine or an image model, with weights, never fused."""

    name: str
    kind: Literal["engine", "image"]
    config: Mapping[str, Any]
    """Its YAML, without the kind."""
    settings: Settings
    model: nn.Module

    @classmethod
    def of(cls, asked: TrackerOptions) -> Source:
        """The model that options ask for, on their device, in float32.

        Raises:
            ConfigError: it is unknown, none of ours, or one of few bits.
            CheckpointError: its weights are missing or do not fit.
        """
        name, config = read_config(asked.tracker)
        kind = config.pop("kind", None)
        if kind not in ("engine", "image"):
            raise ConfigError(f"'{name}' is of the kind '{kind}', which has no weights that could be cut")
        require_float(config, f"model '{name}'")
        if asked.image_size is not None:
            config["image_size"] = asked.image_size
        own = config.pop("weights", None)
        settings = _parsed(kind, config, name)
        device = pick_device(asked.device)
        model = _built(settings, name)
        load_weights(model, name, asked, own, renames_of(settings.family))
        return cls(name, kind, config, settings, model.to(device))

    @property
    def where(self) -> str:
        """The model, for messages."""
        return f"model '{self.name}'"

    def with_entries(self, entries: Entries) -> dict[str, Any]:
        """The YAML in which some mappings say something else."""
        changed = {key: {**getattr(self.settings, key), **entry} for key, entry in entries.items()}
        return {**self.config, **changed}

    def built(self, entries: Entries, state: Mapping[str, Tensor]) -> nn.Module:
        """The model with other widths, and with these weights.

        Raises:
            ConfigError: the widths do not go together.
        """
        model = _built(_parsed(self.kind, self.with_entries(entries), self.name), self.name)
        model.load_state_dict(state)
        return model.to(next(iter(state.values())).device)

    def write(self, folder: Path, entries: Entries, model: nn.Module) -> None:
        """Write the YAML and the weights of a model that `built` made, into a folder that is there."""
        config = self.with_entries(entries)
        config.pop("bfloat16_is_proven", None)  # it was proven of the model as it was
        document = {"kind": self.kind, **config, "weights": WEIGHTS}
        state = renames_of(self.settings.family).to_public(model.state_dict())
        facts = {"format": "pt", "tracker": self.name, "vidseg": __version__}
        write_tensors(folder / WEIGHTS, state, facts)
        (folder / YAML).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def _parsed(kind: str, config: Mapping[str, Any], name: str) -> Settings:
    said = {key: value for key, value in config.items() if key != "options"}
    settings: type[Settings] = EngineSettings if kind == "engine" else ImageSettings
    return parse(settings, said, where=f"model '{name}'", error=ConfigError)


def _built(settings: Settings, name: str) -> nn.Module:
    where = f"model '{name}'"
    with torch.inference_mode(False):
        if isinstance(settings, EngineSettings):
            return module_of(build_model(settings, where)[0])
        return module_of(build_image_model(settings, where)[0])
