"""docs/training.md and recipes/: the examples are valid, name every setting with its default, and run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import BaseModel

from support.training import tracker_yaml
from vidseg.cli import main
from vidseg.trackers.build import expected_shapes
from vidseg.trackers.image.build import build_image_model
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.model import module_of
from vidseg.trackers.registry import read_config
from vidseg.trackers.settings import EngineSettings
from vidseg.training.data import ClipSettings
from vidseg.training.distil_settings import DistilSettings
from vidseg.training.prompt_head_settings import PromptHeadSettings
from vidseg.training.settings import Lockstep, TrainSettings, read_settings
from vidseg.training.trainee import read_engine_config, settings_of_sizes

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = {text.splitlines()[0].removeprefix("# "): text for text in BLOCKS}
RECIPES = [
    "vidseg-nano.yaml",
    "vidseg-nano-gpu.yaml",
    "distil-nano-half.yaml",
    "prompt-head-nano.yaml",
]


def numbers(name: str) -> int:
    settings = EngineSettings.model_validate({k: v for k, v in read_config(name)[1].items() if k != "kind"})
    return sum(math.prod(shape) for shape in expected_shapes(settings, name).values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_valid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / name).write_text(EXAMPLES[name])
    check(read_settings(tmp_path / name))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check(read_settings(ROOT / "recipes" / name))


@pytest.mark.parametrize("name", ["mobile-sam", "tiny-sam", "edge-sam", "efficient-sam", "nano-sam"])
def test_recipes_of_image_models_are_valid(name: str) -> None:
    settings = read_settings(ROOT / "recipes" / f"distil-{name}.yaml")
    assert settings.distil is not None
    for model in (settings.tracker, settings.distil.teacher):
        config = {key: value for key, value in read_config(model)[1].items() if key != "kind"}
        with torch.device("meta"):
            built, _ = build_image_model(ImageSettings(**config), model)
        names = [key for key, _ in module_of(built).named_parameters()]
        assert all(any(key.startswith(f"{part}.") for key in names) for part in settings.only)
    assert settings.sizes() == [1024]


def check(settings: TrainSettings) -> None:
    """Its trackers exist and take clips of these sizes."""
    trackers = [settings.tracker] + ([settings.distil.teacher] if settings.distil else [])
    for tracker in trackers:
        settings_of_sizes(read_engine_config(tracker, "tracker")[1], settings.sizes(), tracker)


def test_every_setting_is_shown_with_its_default(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(EXAMPLES["all.yaml"])
    shown = read_settings(tmp_path / "all.yaml")
    assert list(not_shown(shown)) == ["save_every.steps"]  # it or minutes

    said = shown.model_dump()
    default = TrainSettings(tracker=shown.tracker, steps=shown.steps, data=ClipSettings()).model_dump()
    of_run = ("init", "minutes", "mean_from", "lockstep", "distil", "prompt_head", "stages")
    for section, examples in {"": of_run, "data": ("stills", "videos", "vos")}.items():
        for values in (said, default):
            for name in examples:
                del (values[section] if section else values)[name]
    assert said == default
    assert shown.lockstep is not None
    assert shown.lockstep == Lockstep()
    assert shown.prompt_head is not None
    assert shown.prompt_head.model_copy(update={"weights": None}) == PromptHeadSettings()

    assert shown.distil is not None
    plain = DistilSettings(teacher=shown.distil.teacher, masks=1.0)
    assert shown.distil.model_dump(exclude={"teacher_weights"}) == plain.model_dump(
        exclude={"teacher_weights"}
    )


def not_shown(shown: BaseModel, path: str = "") -> Iterator[str]:
    for name in type(shown).model_fields:
        if name not in shown.model_fields_set:
            yield path + name
        value = getattr(shown, name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                yield from not_shown(inner, f"{path}{name}.")


def test_the_first_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = yaml.safe_load(EXAMPLES["small.yaml"])
    values |= {"tracker": tracker_yaml(tmp_path), "workers": 0, "data": {"size": 64}, "batch": 1}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    calls = re.findall(r"^(?:    )?vidseg (train .*?)(?: +#.*)?$", PAGE, re.MULTILINE)
    assert len(calls) == 3
    for call in calls:
        assert main([*call.split(), "--steps", "1", "--device", "cpu", "--quiet"]) == 0
    assert (tmp_path / "runs" / "small" / "weights.safetensors").exists()


def test_the_half_is_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    share = numbers("recipes/vidseg-nano-half.yaml") / numbers("recipes/vidseg-nano-residual.yaml")
    assert 0.45 < share < 0.55
