"""Distillation of image models: every family's losses fall, and the result loads like a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import vidseg
from support.training import log_rows, training_settings
from vidseg.errors import CheckpointError, ConfigError
from vidseg.trackers.image.build import build_image_model
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.model import module_of
from vidseg.trackers.weights.renames import renames_of
from vidseg.training.run import train
from vidseg.validation import parse

SIZE = 64
VIT = {"name": "sam-vit", "channels": 16, "heads": 2, "depth": 2, "global_blocks": [1], "mlp": 32}
TEACHER = {"kind": "image", "family": "sam", "image_size": SIZE, "backbone": {**VIT, "channels": 32}}
STUDENT = {"kind": "image", "family": "sam", "image_size": SIZE, "backbone": VIT}
PLAIN = {
    "kind": "image",
    "family": "efficient-sam",
    "image_size": SIZE,
    "framing": {"name": "stretch", "filter": "bilinear"},
    "backbone": {"name": "plain-vit", "variant": "tiny", "windowed": False},
    "model": {"name": "efficient-sam"},
}


def write(folder: Path, name: str, config: dict[str, Any]) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


def weights_of(config: dict[str, Any], path: Path, seed: int) -> str:
    """A file of random weights under official names."""
    rest = {key: value for key, value in config.items() if key != "kind"}
    settings = parse(ImageSettings, rest, where="test", error=ConfigError)
    torch.manual_seed(seed)
    model, _ = build_image_model(settings, "test")
    torch.save(renames_of(settings.family).to_public(module_of(model).state_dict()), path)
    return str(path)


def settings_for(folder: Path, student: dict[str, Any], distil: dict[str, Any], **changes: Any) -> Any:
    teacher = write(folder, "teacher", TEACHER)
    weights = weights_of(TEACHER, folder / "teacher.pt", seed=1)
    values = {
        "tracker": write(folder, "student", student),
        "steps": 20,
        "lr": 2e-3,
        "log_every": 1,
        "batch": 4,
        "schedule": {"warm_up": 2, "shape": "constant"},
        "data": {"size": SIZE, "num_frames": 1},
        "unroll": {},
        "distil": {"teacher": teacher, "teacher_weights": weights, "truth": 0.0, **distil},
    }
    return training_settings(folder, **{**values, **changes})


RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mobile-sam": (STUDENT, {"embedding": 1.0}),
    "nano-sam": (STUDENT, {"embedding": 1.0, "embedding_distance": "huber"}),
    "tiny-sam": (
        STUDENT,
        {"embedding": 1.0, "embedding_distance": "absolute", "tokens": 1.0, "masks": 1.0},
    ),
    "edge-sam": (STUDENT, {"prompts": 1.0, "prompt_rounds": 1}),
    "efficient-sam": (PLAIN, {"masked": 1.0}),
}


@pytest.mark.parametrize("name", list(RECIPES))
def test_losses_fall_and_the_result_is_a_checkpoint(name: str, tmp_path: Path) -> None:
    student, distil = RECIPES[name]
    settings = settings_for(tmp_path, student, distil)
    record = train(settings, tmp_path / "run")
    assert record["status"] == "done"
    rows = log_rows(tmp_path / "run")
    for part in (key for key in rows[0] if key.startswith("distil_")):
        values = [float(row[part]) for row in rows]
        assert np.mean(values[-5:]) < np.mean(values[:5]), part
    learned = {key.removeprefix("distil_") for key in rows[0] if key.startswith("distil_")}
    assert learned == {key for key, value in distil.items() if value == 1.0 and key != "prompt_rounds"}
    path = tmp_path / "run/weights.safetensors"
    segmenter = vidseg.load_image(settings.tracker, weights=path, device="cpu")
    picture = np.full((40, 60, 3), 128, np.uint8)
    assert segmenter.embed(picture).segment(box=(5, 5, 40, 30))[0].mask.shape == (40, 60)
    again = settings.model_copy(update={"init": str(path), "steps": 1})
    assert train(again, tmp_path / "again")["status"] == "done"


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    # At a constant rate the first half does not depend on the number of steps.
    rate = {"warm_up": 1, "shape": "constant", "decay": 0.0}
    distil = {"embedding": 1.0, "prompts": 1.0}
    full = settings_for(tmp_path, STUDENT, distil, steps=4, schedule=rate)
    train(full.model_copy(update={"steps": 2}), tmp_path / "half")
    train(full, tmp_path / "half", resume=True)
    train(full, tmp_path / "full")
    first, second = (load_file(tmp_path / run / "weights.safetensors") for run in ("half", "full"))
    assert all(torch.equal(first[name], second[name]) for name in second)


@pytest.mark.parametrize(
    ("student", "distil", "message"),
    [
        (STUDENT, {"memory": 1.0}, "no memory"),
        (STUDENT, {"masked": 1.0}, "plain vision transformer"),
        (STUDENT, None, "learns from a teacher"),
    ],
)
def test_what_cannot_be_learned_is_told(
    student: dict[str, Any], distil: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, student, distil or {"embedding": 1.0})
    if distil is None:
        settings = settings.model_copy(update={"distil": None})
    with pytest.raises(ConfigError, match=message):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_foreign_weights_are_refused_under_their_official_names(tmp_path: Path) -> None:
    path = weights_of(TEACHER, tmp_path / "other.pt", seed=2)
    settings = settings_for(tmp_path, STUDENT, {"embedding": 1.0}, init=path)
    with pytest.raises(CheckpointError, match="image_encoder"):
        train(settings, tmp_path / "run")
