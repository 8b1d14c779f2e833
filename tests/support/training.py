"""Small training runs: a tracker of a few thousand weights on made clips of 64 pixels."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import vidseg
from support.parity import SMALL_MODEL
from support.seeded import seeded_weights
from vidseg.errors import ConfigError
from vidseg.trackers.build import build_model
from vidseg.trackers.settings import EngineSettings
from vidseg.training.data import ClipDataset, ClipMaker
from vidseg.training.settings import TrainSettings
from vidseg.validation import parse

SIZE = 64
SPACE_TIME: dict[str, Any] = {
    "kind": "engine",
    "image_size": SIZE,
    "backbone": {"name": "residual", "stem": 8, "widths": [8, 16, 16, 16], "blocks": [1, 1, 1, 1]},
    "model": {
        "name": "space-time",
        "key_channels": 16,
        "value_channels": 20,
        "context_channels": 16,
        "fine_channels": [8, 8],
        "pyramid_channels": 16,
    },
    "bank": {"name": "recent-frames", "recent_frames": 3, "max_pointers": 4},
}


def tracker_yaml(folder: Path, *, sam2: bool = False, name: str | None = None, **changes: Any) -> str:
    """The path of a tracker's YAML: a space-time model, or one of SAM 2.1's kind; `changes` at its top."""
    config = yaml.safe_load(SMALL_MODEL) if sam2 else SPACE_TIME
    path = folder / f"{name or ('sam2' if sam2 else 'space-time')}.yaml"
    path.write_text(yaml.safe_dump({**config, **changes}), encoding="utf-8")
    return str(path)


def space_time_tracker(folder: Path, **changes: Any) -> Any:
    """A space-time tracker with seeded weights, loaded from a YAML in the folder; `changes` at its top."""
    config = {**SPACE_TIME, **changes}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    asked = {key: value for key, value in config.items() if key != "kind"}
    model, _ = build_model(parse(EngineSettings, asked, where="test", error=ConfigError), "test")
    return vidseg.load(path, weights=seeded_weights(model), device="cpu")


def call_nothing_absent(tracker: Any) -> None:
    """Have a space-time tracker see its objects on every frame, as random weights know nothing of absence."""
    with torch.no_grad():
        tracker.engine.model.decoder.score[-1].bias.fill_(50.0)


def training_values(folder: Path, **changes: Any) -> dict[str, Any]:
    """What a training YAML says; `changes` at its top."""
    return {
        "tracker": tracker_yaml(folder),
        "steps": 6,
        "batch": 2,
        "lr": 1e-3,
        "schedule": {"warm_up": 2},
        "ema_decay": 0.9,
        "device": "cpu",
        "workers": 0,
        "log_every": 2,
        "sheet_every": 1000,
        "save_every": {"steps": 1000},
        "data": {"size": SIZE, "num_frames": 3, "vanish": 0.5},
        "unroll": {"corrections": 0.5},
        **changes,
    }


def training_settings(folder: Path, **changes: Any) -> TrainSettings:
    return parse(TrainSettings, training_values(folder, **changes), where="test", error=ConfigError)


def clips(settings: TrainSettings, first: int = 0, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Images and masks of a batch of the run's clips."""
    count = settings.batch if count is None else count
    data = ClipDataset(ClipMaker(settings.data), first + count, settings.seed)
    images, masks = zip(*(data[first + i] for i in range(count)), strict=True)
    return torch.stack(images), torch.stack(masks)


def log_rows(out: Path) -> list[dict[str, str]]:
    """`log.csv`, without what the clock says."""
    with open(out / "log.csv", newline="", encoding="utf-8") as file:
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "waited")}
            for row in csv.DictReader(file)
        ]


def assert_same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """The same names, and the same bits."""
    assert sorted(one) == sorted(other)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
