"""`vidseg train` as a person calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.training import training_values
from vidseg.cli import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **changes: Any) -> str:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(training_values(folder, **changes)))
    return "tiny.yaml"


def test_a_run_says_where_its_weights_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", write(place), "--steps", "2"]) == 0
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert first.startswith("done: 2 of 2 steps, 4 clips, ")
    assert Path(second.strip()) == Path("runs/tiny/weights.safetensors")
    assert Path(second.strip()).exists()
    assert "step 2/2  lr " in printed.err


def test_a_run_is_told_as_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", write(place), "--steps", "1", "--out", "here", "--json"]) == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert record == json.loads(Path("here/train.json").read_text())
    assert record["status"] == "done"
    assert record["settings"]["steps"] == 1
    assert printed.err == ""


def test_clips_are_shown_without_training(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = [{"from_step": 3, "num_frames": 2}]
    assert main(["train", write(place, stages=stages), "--show-data", "--out", "here"]) == 0
    paths = capsys.readouterr().out.splitlines()
    assert paths == ["here/data-from-step-0.png", "here/data-from-step-3.png"]
    assert all(Path(path).exists() for path in paths)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt key": ({"step": 3}, "did you mean 'steps'?"),
    "a misspelt key within": ({"unroll": {"corection": 1.0}}, "'corection'"),
    "no steps": ({"steps": 0}, "field 'steps'"),
    "a tracker that is not there": ({"tracker": "vidseg-nono"}, "vidseg-nano"),
    "a tracker without weights": ({"tracker": "flow"}, "nothing to train"),
    "a file that is not there": ({"tracker": "nowhere.yaml"}, "no such tracker configuration"),
    "weights that are not there": ({"init": "nowhere.safetensors"}, "nowhere.safetensors"),
    "clips of an odd size": ({"data": {"size": 100}}, "clips of 100 pixels"),
    "a folder that is not there": ({"data": {"vos": ["nowhere"]}}, "nowhere"),
    "a variable that is not set": ({"data": {"videos": ["${VIDSEG_NOT_SET}/x"]}}, "VIDSEG_NOT_SET"),
    "stages out of order": (
        {"stages": [{"from_step": 4}, {"from_step": 2}]},
        "each from_step must be greater",
    ),
    "two ways to save": ({"save_every": {"steps": 2, "minutes": 1.0}}, "either steps or minutes"),
    "a teacher of no use": ({"distil": {"teacher": "vidseg-nano"}}, "nothing is learned from the teacher"),
    "a teacher that is not there": ({"distil": {"teacher": "nono.yaml", "masks": 1.0}}, "nono.yaml"),
    "more prompts than there are": ({"unroll": {"prompts": {"mask": 0.8, "box": 0.4}}}, "more than 1"),
    "a loss that is rewarded": ({"unroll": {"losses": {"focal": -1.0}}}, "unroll.losses.focal"),
    "a seed beyond all": ({"seed": 2**64}, "field 'seed'"),
    "lockstep without first frames": ({"lockstep": {}}, "field 'first_frames.batch'"),
    "clips without a source": ({"data": {"size": 64, "mix": {"composed": 0.0}}}, "no kind of clips is left"),
    "a teacher whose weights are not here": (
        {"distil": {"teacher": "sam2.1-hiera-large", "masks": 1.0}},
        "give a file: 'teacher_weights'",
    ),
    "a start whose weights are not here": ({"init": "sam2.1-hiera-large"}, "give a file: 'init'"),
    "a device that is not here": ({"device": "cuda:99"}, "cuda:99"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_three_lines(
    place: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    changes, told = WRONG[case]
    assert main(["train", write(place, **changes)]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert len(printed.err.splitlines()) <= 3
    assert printed.out == ""
    assert not Path("runs/tiny").exists()


@pytest.mark.parametrize("text", ["", "- a list", "steps: [", "\x00"])
def test_what_is_no_configuration_is_told(place: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (place / "tiny.yaml").write_text(text)
    assert main(["train", "tiny.yaml"]) == 2
    assert 1 <= len(capsys.readouterr().err.splitlines()) <= 3
    assert main(["train", "nowhere.yaml"]) == 2


def test_what_is_hardly_meant_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(place, steps=2, lr=1.0e-3, mean_from=2, schedule={"warm_up": 4})
    assert main(["train", config]) == 0
    told = capsys.readouterr().err
    assert "only rises, to 0.0005" in told
    assert "ends before mean_from (2)" in told
    config = write(place, steps=2, schedule={"warm_up": 1}, mean_from=1)
    assert main(["train", config, "--out", "runs/other"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_folder_with_a_run_asks_for_resume(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(place)
    assert main(["train", config, "--steps", "1", "--quiet"]) == 0
    assert main(["train", config, "--quiet"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["train", config, "--steps", "2", "--resume", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_done(place: Path) -> None:
    config = write(place, steps=100000, log_every=1)
    call = [sys.executable, "-m", "vidseg", "train", config, "--out", "here"]
    with subprocess.Popen(
        call,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        while not (place / "here" / "log.csv").exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out.startswith("interrupted: ")
    assert err.endswith("  go on with --resume\n")
    done = json.loads((place / "here" / "train.json").read_text())["steps_done"]
    assert main(["train", config, "--out", "here", "--resume", "--quiet", "--steps", str(done + 1)]) == 0
