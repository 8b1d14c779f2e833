"""Builds a model from a YAML: one function builds the whole from the tables of parts.

Unknown names and keys, and parts that do not go together, are refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from vidseg.errors import ConfigError
from vidseg.memory.bank import BankPolicy
from vidseg.registry import Registry
from vidseg.trackers.model import MemoryModel, module_of
from vidseg.trackers.parts import BANK_POLICIES, build_backbone, build_part
from vidseg.trackers.sam2.build import Sam2Settings, build_sam2
from vidseg.trackers.settings import EngineSettings, Given
from vidseg.trackers.space_time.build import SpaceTimeSettings, build_space_time
from vidseg.validation import Strict, parse


@dataclass(frozen=True)
class ModelRow:
    """One row of the table of models."""

    settings: type[Strict]
    """What `model:` in a YAML may say besides its name."""
    build: Callable[[Any, Given], MemoryModel]
    """Builds the model, a torch module, from its settings and from what it is built around."""


MODELS: Registry[ModelRow] = Registry(
    "model",
    {
        "sam2": ModelRow(Sam2Settings, build_sam2),
        "space-time": ModelRow(SpaceTimeSettings, build_space_time),
    },
)


def register_model(name: str, row: ModelRow) -> None:
    """Make `model: {name: NAME, ...}` in a tracker's YAML build `row`.

    Raises:
        ConfigError: the name is taken.
    """
    MODELS.register(name, row)


def build_model(settings: EngineSettings, where: str) -> tuple[MemoryModel, BankPolicy]:
    """The whole model and the policy of its banks, with weights not yet loaded.

    Raises:
        ConfigError: a part is unknown or does not fit the others.
    """
    row = MODELS.lookup(settings.model.get("name"), where=f"{where}, field 'model.name'")
    rest = {key: value for key, value in settings.model.items() if key != "name"}
    widths = parse(row.settings, rest, where=f"{where}, in 'model'", error=ConfigError)
    backbone = build_backbone(settings.backbone, settings.image_size, where)
    policy = build_part(BANK_POLICIES, "bank", settings.bank, where)
    model = row.build(widths, Given(settings, backbone, policy, where))
    module_of(model).eval()
    return model, policy


def expected_shapes(settings: EngineSettings, where: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight that a checkpoint for these settings must have; nothing is allocated."""
    with torch.device("meta"):
        model, _ = build_model(settings, where)
    return {key: tuple(value.shape) for key, value in module_of(model).state_dict().items()}
