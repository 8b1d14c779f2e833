"""Prompts typed on the command line, and a short form's frame."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.hard_videos import numbered
from vidseg.cli import main
from vidseg.errors import PromptError
from vidseg.exit_codes import EXIT_USAGE
from vidseg.pipeline.prompts import read_prompts
from vidseg.pipeline.typed_prompts import add_prompt_arguments, combine

QUICKLY = ["--tracker", "flow", "--format", "rle", "--quiet"]


def typed(*args: str) -> Any:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_prompt_arguments(parser)
    return combine(parser.parse_args(list(args)).prompts)


def test_one_prompt_is_what_a_file_would_say() -> None:
    assert typed("--box", "10,20,200,220.5") == {"box": [10, 20, 200, 220.5]}
    assert typed("--points", "5,6") == {"points": [[5, 6]], "labels": [1]}
    assert typed("--points", "5,6; 7,8,0") == {"points": [[5, 6], [7, 8]], "labels": [1, 0]}
    assert typed("--prompt", '{"box": [1, 2, 3, 4]}') == {"box": [1, 2, 3, 4]}
    assert typed("--prompt", "box.json") == "box.json"
    assert typed("--prompt", "-") == "-"


def test_each_further_prompt_is_one_more_object_in_the_order_of_typing() -> None:
    said = typed("--points", "1,2", "--box", "0,0,9,9", "--points", "3,4,0;5,6")
    assert read_prompts(said, first_frame=7).document() == {
        "objects": [
            {"id": 1, "prompts": [{"frame": 7, "points": [[1, 2]], "labels": [1]}]},
            {"id": 2, "prompts": [{"frame": 7, "box": [0, 0, 9, 9]}]},
            {"id": 3, "prompts": [{"frame": 7, "points": [[3, 4], [5, 6]], "labels": [0, 1]}]},
        ]
    }


def test_a_mask_of_several_objects_beside_other_prompts_loses_none_of_them(tmp_path: Path) -> None:
    values = np.array([[1, 1, 0], [0, 2, 2]], np.uint8)
    Image.fromarray(values).save(tmp_path / "several.png")
    mask = json.dumps({"mask": str(tmp_path / "several.png")})
    assert len(read_prompts(typed("--prompt", mask)).objects) == 2
    with pytest.raises(
        PromptError, match=r"2 objects[^\n]*\n  at: prompt 2, field 'mask'\n  fix: give it alone"
    ):
        read_prompts(typed("--box", "0,0,2,2", "--prompt", mask))
    with pytest.raises(PromptError, match="2 objects"):
        read_prompts([values, {"box": [0, 0, 2, 2]}])
    Image.fromarray(values > 1).save(tmp_path / "one.png")
    both = read_prompts([{"box": [0, 0, 2, 2]}, {"mask": str(tmp_path / "one.png")}])
    assert [thing.obj_id for thing in both.objects] == [1, 2]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--box", "1,2,3"], "3 numbers"),
        (["--box", "1,2,3,x"], "numbers with commas"),
        (["--points", "1"], "no list of points"),
        (["--points", "1,2,5"], "no list of points"),
        (["--points", ";"], "no list of points"),
        (["--prompt", '{"box": [1, 2}'], "not JSON"),
        (["--prompt", "[1, 2, 3, 4]"], "a JSON object"),
        (["--prompt", '{"box": [1, 2, NaN, 4]}'], "NaN"),
        ([], "nothing says what to follow"),
        (["--box", "1,2,3,4", "--prompt", "box.json"], "stands alone"),
        (["--box", "1,2,3,4", "--prompt", '{"objects": []}'], "stands alone"),
    ],
)
def test_what_cannot_be_meant_is_refused(args: list[str], message: str) -> None:
    with pytest.raises((PromptError, argparse.ArgumentError), match=message):
        typed(*args)


def test_a_refused_prompt_is_told_in_one_line() -> None:
    box = '{"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [20, 30, 60, NaN]}]}]}'
    with pytest.raises(argparse.ArgumentError) as caught:
        typed("--prompt", box)
    assert "\n" not in str(caught.value)
    assert "give finite numbers" in str(caught.value)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered(tmp_path_factory.mktemp("videos") / "clip.mp4", 12, options={"g": "6"})


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "masklets.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("start", [None, 5])
def test_boxes_and_points_are_followed_from_the_first_frame(
    video: Path, tmp_path: Path, start: int | None
) -> None:
    call = [
        "track",
        str(video),
        "--tracker",
        "flow",
        "--format",
        "rle",
        "--quiet",
        "--out",
        str(tmp_path / "a"),
    ]
    call += [] if start is None else ["--start", str(start)]
    assert main([*call, "--box", "10,10,30,30", "--points", "40,40"]) == 0
    first, *rest = lines(tmp_path / "a")
    assert first["frame"] == (start or 0)
    assert len(rest) == 11 - (start or 0)
    assert [each["id"] for each in first["objects"]] == [1, 2]


def test_a_file_in_short_form_belongs_to_the_first_frame_too(video: Path, tmp_path: Path) -> None:
    (tmp_path / "box.json").write_text('{"box": [10, 10, 30, 30]}')
    call = [
        "track",
        str(video),
        "--tracker",
        "flow",
        "--format",
        "rle",
        "--quiet",
        "--out",
        str(tmp_path / "a"),
    ]
    assert main([*call, "--start", "4", "--prompt", str(tmp_path / "box.json")]) == 0
    assert lines(tmp_path / "a")[0]["objects"][0]["area"] > 0


def test_a_window_that_cannot_be_opened_is_told_with_a_remedy(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    def none_here(*args: Any) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", none_here)
    call = ["track", str(video), "--tracker", "flow", "--out", str(tmp_path / "a"), "--box", "10,10,30,30"]
    assert main([*call, "--show"]) == EXIT_USAGE
    assert "opencv-python" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_window_shows_every_frame_until_it_is_closed(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    shown: list[Any] = []
    closed: list[str] = []
    monkeypatch.setattr(cv2, "namedWindow", lambda *args: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: shown.append(picture.shape))
    monkeypatch.setattr(cv2, "waitKey", lambda ms: 27 if len(shown) == 5 else -1)
    monkeypatch.setattr(cv2, "destroyWindow", closed.append)
    call = [
        "track",
        str(video),
        "--tracker",
        "flow",
        "--format",
        "rle",
        "--quiet",
        "--out",
        str(tmp_path / "a"),
    ]
    assert main([*call, "--box", "10,10,30,30", "--show"]) == 0
    assert len(shown) == 5
    assert len(closed) == 1
    assert len(lines(tmp_path / "a")) == 12
