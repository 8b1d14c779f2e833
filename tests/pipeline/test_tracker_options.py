"""What is asked of a tracker arrives there, whoever asks: Python, the command line, a job, a YAML."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vidseg
from support.made_datasets import make_davis
from support.parity import SMALL_MODEL
from vidseg import cli
from vidseg.errors import ConfigError, OutputError
from vidseg.eval.commands import bench
from vidseg.eval.commands import eval as eval_command
from vidseg.pipeline.batch.jobs import JobsFile
from vidseg.pipeline.commands import batch, track
from vidseg.pipeline.commands.tracker_arguments import options_of
from vidseg.trackers.options import EngineOptions, TrackerOptions

BOX = {"box": [10, 10, 40, 40]}
NOT_OFF: dict[str, Any] = {
    "compile": True,
    "graphs": True,
    "encoder_products": "int8",
    "non_overlap_masks": True,
    "fill_hole_area": 8,
    "remove_speck_area": 4,
    "fast": True,
    "max_conditioning": 3,
    "corrections_condition": True,
    "clear_memory_around_corrections": True,
}
"""A value of each engine option that changes something."""


def flags(said: dict[str, Any]) -> list[str]:
    words = []
    for name, value in said.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_MODEL)
    return path


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return make_davis(tmp_path / "data") / "JPEGImages/480p/ants"


def test_every_option_of_the_engine_is_tried_here() -> None:
    assert NOT_OFF.keys() == EngineOptions.model_fields.keys()


@pytest.mark.parametrize("command", [track, batch, eval_command, bench])
def test_every_command_asks_for_every_option(command: Any) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    others = {
        track: ["a.mp4", "--prompt", "b.json"],
        batch: ["jobs.jsonl"],
        eval_command: ["davis2017"],
        bench: [],
    }[command]
    assert options_of(parser.parse_args(others)) == TrackerOptions()
    said = {"tracker": "flow", "weights": "w.pt", "dtype": "bfloat16", "image_size": 512, **NOT_OFF}
    asked = options_of(parser.parse_args([*others, *flags(said), "--allow-random-weights"]))
    assert asked == TrackerOptions(**said, allow_random_weights=True)
    assert options_of(parser.parse_args([*others, "--no-compile"])).compile is False


def test_a_job_asks_for_every_option(tmp_path: Path) -> None:
    said = {"dtype": "float16", "image_size": 512, **NOT_OFF}
    line = {"id": "a", "video": "a.mp4", "prompt": BOX, "tracker": "edgetam", "options": said}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(line))
    jobs = JobsFile(tmp_path / "jobs.jsonl", {"device": "cpu", "fill_hole_area": 99})
    assert next(iter(jobs))[1].options.for_tracker() == TrackerOptions(
        tracker="edgetam", device="cpu", **said
    )


def test_options_go_to_other_processes() -> None:
    asked = TrackerOptions(weights={"a": np.zeros(2)}, **NOT_OFF)
    back = pickle.loads(pickle.dumps(asked))
    assert back.model_copy(update={"weights": None}) == asked.model_copy(update={"weights": None})


def test_a_yaml_gives_defaults_and_a_caller_has_the_last_word(small: Path) -> None:
    small.write_text(SMALL_MODEL + "options: {fill_hole_area: 8, non_overlap_masks: true}\n")

    def told(**said: Any) -> dict[str, Any]:
        facts = vidseg.load(small, allow_random_weights=True, device="cpu", **said).describe()
        assert "options" not in facts["config"]
        return dict(facts["options"])

    assert (told()["fill_hole_area"], told()["non_overlap_masks"]) == (8, True)
    said = told(fill_hole_area=0, non_overlap_masks=False, remove_speck_area=2)
    assert (said["fill_hole_area"], said["non_overlap_masks"], said["remove_speck_area"]) == (0, False, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [("{fill_hole: 8}", "did you mean 'fill_hole_area'"), ("[1]", "options"), ("{tracker: flow}", "tracker")],
)
def test_a_yaml_with_other_options_is_refused(small: Path, options: str, message: str) -> None:
    small.write_text(SMALL_MODEL + f"options: {options}\n")
    with pytest.raises(ConfigError) as refused:
        vidseg.load(small, allow_random_weights=True)
    assert message in str(refused.value)
    assert "small.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"dtype": "float8"}, "'float32', 'bfloat16' or 'float16'"),
        ({"image_size": 0}, "image_size"),
        ({"fill_hole_area": -1}, "fill_hole_area"),
        ({"fil_hole_area": 8}, "unknown option 'fil_hole_area'; did you mean 'fill_hole_area'"),
        ({"compile": "yes"}, "compile"),
        ({"weights": ""}, "the name is empty\n  at: tracker '"),
        ({"weights": ""}, "field 'weights'"),
    ],
)
def test_bad_options_are_told(small: Path, said: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        vidseg.load(small, allow_random_weights=True, **said)
    assert message in str(refused.value)


@pytest.mark.parametrize("name", sorted(set(NOT_OFF) - {"non_overlap_masks"}))
def test_flow_refuses_what_it_cannot_do(name: str) -> None:
    with pytest.raises(ConfigError, match="the tracker 'flow' has no"):
        vidseg.load("flow", **{name: NOT_OFF[name]})


def test_flow_takes_options_that_ask_for_nothing() -> None:
    vidseg.load("flow", compile=False, fill_hole_area=0, non_overlap_masks=True, dtype="float32")


def test_a_run_records_its_options_and_goes_on_with_the_same(
    small: Path, frames: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompt.json").write_text(json.dumps(BOX))
    out = tmp_path / "out"
    command = ["track", str(frames), "--prompt", str(tmp_path / "prompt.json"), "--out", str(out)]
    command += ["--tracker", str(small), "--allow-random-weights", "--device", "cpu", "--quiet"]
    said = {
        name: value
        for name, value in NOT_OFF.items()
        if name not in ("compile", "graphs", "encoder_products")
    }
    assert cli.main([*command, "--format", "rle", *flags(said)]) == 0
    record = json.loads((out / "run.json").read_text())
    assert record["options"].items() >= {**said, "compile": None, "dtype": "float32"}.items()
    told = record["tracker_facts"]["options"]
    assert (told["fill_hole_area"], told["non_overlap_masks"]) == (8, True)
    bank = record["configuration"]["bank"]
    assert (bank["recent_frames"], bank["stride"], bank["max_conditioning"]) == (3, 2, 3)
    asked = TrackerOptions(tracker=str(small), allow_random_weights=True, device="cpu", **said)
    again = {name: value for name, value in asked if name != "extra"}
    vidseg.track(frames, BOX, out=out, formats=["rle"], resume=True, **again)
    with pytest.raises(OutputError, match=r"--fill-hole-area \(8, now 9\)"):
        vidseg.track(frames, BOX, out=out, formats=["rle"], resume=True, **{**again, "fill_hole_area": 9})


def test_options_for_a_tracker_that_is_loaded_are_refused(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'dtype' for a tracker that is loaded"):
        vidseg.track(frames, BOX, tracker=vidseg.load("flow"), dtype="bfloat16", out=tmp_path / "out")
