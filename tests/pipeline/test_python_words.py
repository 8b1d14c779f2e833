"""An error in Python names arguments; the command's names options."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import vidseg
from vidseg.cli import main
from vidseg.errors import ConfigError, OutputError, PromptError

PICTURES = [np.full((48, 64, 3), value, np.uint8) for value in (10, 20, 30)]
BOX = {"box": [10, 10, 30, 30]}
OPTION = re.compile(r"(?<!\S)--[a-z]")


def test_a_folder_in_use_and_a_frame_that_is_not_tracked(tmp_path: Path) -> None:
    vidseg.track(PICTURES, BOX, tracker="flow", out=tmp_path / "a", formats=["rle"])
    with pytest.raises(OutputError, match="overwrite=True") as told:
        vidseg.track(PICTURES, BOX, tracker="flow", out=tmp_path / "a", formats=["rle"])
    assert not OPTION.search(str(told.value))
    prompts = {"objects": [{"id": 1, "prompts": [{"frame": 0, **BOX}]}]}
    with pytest.raises(PromptError, match="start is 1") as told_too:
        vidseg.track(PICTURES, prompts, tracker="flow", out=tmp_path / "b", start=1)
    assert not OPTION.search(str(told_too.value))


def test_a_device_that_is_not_here() -> None:
    for load in (vidseg.load, vidseg.load_image):
        with pytest.raises(ConfigError, match="device='cpu'"):
            load("vidseg-nano", device="cuda:99")


def test_a_mask_in_place_of_a_prompt_file_is_offered_as_an_argument(tmp_path: Path) -> None:
    (tmp_path / "mask.png").touch()
    with pytest.raises(PromptError, match=r'fix: prompts=\{"mask": ".*mask.png"\}'):
        vidseg.track(PICTURES, str(tmp_path / "mask.png"), tracker="flow", out=tmp_path / "out")


def test_the_command_speaks_of_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vidseg.track(PICTURES, BOX, tracker="flow", out=tmp_path / "a", formats=["rle"])
    (tmp_path / "frames").mkdir()
    from PIL import Image

    Image.fromarray(PICTURES[0]).save(tmp_path / "frames/0.png")
    call = ["track", str(tmp_path / "frames"), "--box", "10,10,30,30", "--out", str(tmp_path / "a")]
    assert main([*call, "--tracker", "flow"]) == 2
    assert "--overwrite" in capsys.readouterr().err
