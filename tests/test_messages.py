"""Messages about calls that many make first do not contradict themselves, and say what to give instead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from vidseg.cli import main
from vidseg.errors import ConfigError, InputError, MissingExtraError, PromptError
from vidseg.trackers.contract import Prompt

BOX = {"box": [2, 2, 20, 20]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"box": [[1, 2, 30, 40]]},
            r"box \[\[1.*\n  fix: take the list around it away: box=\[x0, y0, x1, y1\]",
        ),
        ({"box": [[1, 2, 3, 4], [5, 6, 7, 8]]}, r"box .*\n  fix: prompt each object by its own box="),
        (
            {"box": [[1, 2], [3, 4]]},
            r"box \[\[1.*, where four numbers belong\n  fix: give box=\[x0, y0, x1, y1\]",
        ),
        ({"box": 5}, "box 5.0, where four numbers belong"),
        ({"points": [[1, 2]], "labels": 1}, r"labels 1, where a list .*\n  fix: .* labels=\[1\]"),
        ({"points": [[1, 2]], "labels": [[1]]}, r"labels \[\[1\]\], where a list"),
        ({"points": [[1, 2], [3, 4]], "labels": [[1], [0, 1]]}, "labels .*, where a list"),
        ({"points": [[1, 2]], "labels": ["1"]}, r"labels \['1'\]\n  fix: labels are the numbers 1"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "1 points but 2 labels"),
        (
            {"points": [[1, 2, 1]]},
            r"points \[\[1.0, 2.0, 1.0\]\], where \[x, y\] belongs for each\n  fix: .*labels=",
        ),
        ({"points": [[1, 2, 1], [3, 4, 1]]}, r"where \[x, y\] belongs for each"),
        ({"points": [1, 2, 3]}, r"where \[x, y\] belongs for each"),
        ({"labels": 1, "box": [1, 2, 30, 40]}, "labels without points"),
        ({"mask": [[1, 2], [3]]}, "a mask of list\n  fix: give an array"),
        ({"mask": "mask.png"}, "a mask of str\n  fix: give an array, height x width; read files first"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_a_prompt_is_told_as_it_was_given(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        Prompt.of(**given)


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (ModuleNotFoundError("No module named 'sam2'", name="sam2"), "is not installed"),
        (
            ModuleNotFoundError("No module named 'hydra'", name="hydra"),
            "cannot be imported (No module named 'hydra')",
        ),
        (ImportError("libx.so is missing"), "cannot be imported (libx.so is missing)"),
        (None, "is not installed"),
    ],
)
def test_a_package_that_is_broken_is_not_called_missing(failure: ImportError | None, state: str) -> None:
    try:
        if failure is not None:
            raise failure
        told = MissingExtraError("sam2", "sam2", needed_for="parity")
    except ImportError:
        told = MissingExtraError("sam2", "sam2", needed_for="parity")
    assert told.message == f"parity needs the package 'sam2', which {state}"
    assert told.hint == "pip install 'vidseg[sam2]'"


def test_a_prompt_keeps_its_numbers_though_the_caller_changes_theirs() -> None:
    box, points = np.array([1, 2, 30, 40], np.float32), np.array([[3, 4]], np.float32)
    prompt = Prompt.of(box=box, points=points)
    box[:], points[:] = 0, 0
    assert prompt.box is not None
    assert prompt.box.tolist() == [1, 2, 30, 40]
    assert prompt.points_xy.tolist() == [[3, 4]]


@pytest.mark.parametrize("obj_id", [-1, 2**31, "1", True, 1.0])
def test_ids_are_those_that_label_maps_hold(obj_id: Any) -> None:
    with pytest.raises(PromptError, match="object id"):
        vidseg.load("flow").start().prompt(obj_id, box=[1, 2, 30, 40])


@pytest.mark.parametrize(
    ("index", "pts_seconds", "message"),
    [("0", 0.0, "the index '0'"), (0.5, 0.0, "the index 0.5"), (0, None, "None s"), (0, np.nan, "nan s")],
)
def test_a_frame_has_a_number_and_a_time(index: Any, pts_seconds: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        vidseg.Frame(index, pts_seconds, np.zeros((4, 4, 3), np.uint8))


def test_one_point_may_stand_alone_and_batches_of_points_are_flat() -> None:
    assert Prompt.of(points=[1, 2]).points_xy.tolist() == [[1, 2]]  # type: ignore[list-item]
    assert Prompt.of(points=np.array([[[1, 2], [3, 4]]])).points_xy.tolist() == [[1, 2], [3, 4]]


def test_a_device_of_torch_is_a_device() -> None:
    assert vidseg.load("vidseg-nano", device=torch.device("cpu")).name == "vidseg-nano"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"formats": "png,rle"},
            r"formats is 'png,rle', not a list of names\n  fix: formats=\['png', 'rle'\]",
        ),
        ({"formats": "rle"}, r"not a list of names\n  fix: formats=\['rle'\]"),
        ({"formats": None}, "formats is None, not a list of names"),
        ({"formats": ["png,rle"]}, r"the format 'png,rle' is several\n  fix: formats=\['png', 'rle'\]"),
        ({"formats": [1]}, "the format 1 is not a name"),
        ({"prompts": [2, 2, 20, 20]}, r"JSON object, not \[2, 2, 20, 20\]\n.*\n  fix: \{.box.: \[x0"),
        ({"prompts": None}, "nothing says what to follow\n  fix: give prompts, or discover=True"),
        ({"tracker": None}, "a NoneType is no tracker\n  fix: give a name"),
        ({"start": "1"}, "start is '1'\n  fix: start is the number of a frame"),
    ],
    ids=str,
)
def test_track_says_what_to_give(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    frames = [np.zeros((32, 48, 3), np.uint8)] * 2
    call = {"prompts": BOX, "tracker": "flow", "out": tmp_path / "out", **arguments}
    with pytest.raises(InputError, match=message):
        vidseg.track(frames, **call)
    assert not (tmp_path / "out").exists()


def told_by(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "video,box\na.mp4,b\n",
            "has no column 'prompt'\n  at: line 1, which names these columns: video, box\n",
        ),
        ("prompt,id\nb.json,b\n", "has no column 'video'\n"),
        ("a,b\n1,2\n", "has no column 'video' and no column 'prompt'\n"),
    ],
    ids=["no prompt", "no video", "neither"],
)
def test_a_table_is_told_which_column_it_lacks(
    table: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(table)
    assert message in told_by(capsys, "batch", "make", tmp_path / "t.csv", "--out", tmp_path / "jobs.jsonl")


@pytest.mark.parametrize("name", ["t.csv", "folder"])
@pytest.mark.parametrize("out", [[], ["--out", "out"]], ids=["no out", "out"])
def test_what_jobs_are_made_of_is_no_file_of_jobs(
    name: str, out: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "t.csv").write_text("video,prompt\na.mp4,a.json\n")
    told = told_by(capsys, "batch", tmp_path / name, *out)
    assert "not a file of jobs\n" in told
    assert f"fix: vidseg batch make {tmp_path / name} --out jobs.jsonl, then " in told


def test_a_video_is_for_track(capsys: pytest.CaptureFixture[str]) -> None:
    assert "is a video, not a file of jobs\n  fix: vidseg track clip.mp4" in told_by(
        capsys, "batch", "clip.mp4"
    )


def test_a_prompt_of_a_job_is_a_file_or_an_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"id": "a", "video": "a.mp4", "prompt": [1, 2, 3, 4]}\n')
    told = told_by(capsys, "batch", jobs, "--out", tmp_path / "out", "--workers", 0)
    assert "the prompt [1, 2, 3, 4] is neither a file's name nor an object" in told


def test_without_ray_batch_says_how_to_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "vidseg.pipeline.batch.ray_pool", raising=False)
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"id": "a", "video": "a.mp4", "prompt": {"box": [1, 2, 30, 40]}}\n')
    told = told_by(capsys, "batch", jobs, "--out", tmp_path / "out")
    assert "fix: pip install 'vidseg[ray]'; or --workers 0, which tracks in this process\n" in told


def test_an_unknown_device_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown device 'gpu'\n  fix: auto, cpu, cuda"):
        vidseg.load("vidseg-nano", device="gpu")
