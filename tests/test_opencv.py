"""An OpenCV that pip wrote over is told of, and one that is missing too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import vidseg
from vidseg import opencv
from vidseg.cli import main
from vidseg.errors import InputError


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with windows that was here before ours; returns its name."""
    name = "opencv-python"
    record = tmp_path / "opencv_python-4.12.0.88.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.12.0.88\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(opencv, "_is_checked", False)
    return name


def test_the_command_tells_of_it(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "prompt"]) == 0
    told = capsys.readouterr().err
    assert told.startswith("vidseg: warning: opencv-python-headless ")
    assert f"pip install --force-reinstall --no-deps {other}==4.12.0.88" in told
    assert len(told.splitlines()) == 1


def test_load_tells_of_it_once(other: str, recwarn: pytest.WarningsRecorder) -> None:
    for _ in range(2):
        vidseg.load("flow")
    assert [
        str(warning.message) for warning in recwarn if other in str(warning.message)
    ] == opencv.overwritten()


@pytest.mark.parametrize("said", [{"headless": False}, {"opencv_version": "4.12.0.88"}], ids=str)
def test_another_one_that_lies_in_place_is_left_alone(
    other: str, said: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was installed after ours; vidseg works with either."""
    from cv2 import version

    for name, value in said.items():
        monkeypatch.setattr(version, name, value)
    assert opencv.overwritten() == []


def test_one_package_alone_needs_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for alone in (opencv.OURS, *opencv.OTHERS):
        monkeypatch.setattr(opencv, "_version", lambda name, alone=alone: "5.0" if name == alone else None)
        assert opencv.overwritten() == []


def test_without_any_the_error_names_both(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match="pip install opencv-python-headless, or opencv-python"):
        vidseg.load("flow")
    assert main(["track", "video.mp4", "--prompt", "box.json"]) == 2
    assert capsys.readouterr().err.startswith("vidseg: OpenCV (cv2) is not installed\n  fix: ")
    assert main(["--version"]) == 0
