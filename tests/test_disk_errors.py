"""A full disk and a place that cannot be used are told in one way, whichever command meets them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vidseg import cli
from vidseg.disk_errors import explained
from vidseg.errors import OutputError, RunError


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_failure_that_may_pass(number: int) -> None:
    told = explained(OSError(number, os.strerror(number), "out/x.json.part", None, "out/x.json"))
    assert isinstance(told, RunError)
    assert told.message == f"the disk is full ({os.strerror(number)})"
    assert told.where == "out/x.json"
    assert "free some space" in str(told)


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG]
)
def test_a_place_that_cannot_be_used_is_a_wrong_call(number: int) -> None:
    told = explained(OSError(number, os.strerror(number), "out/x.json.part"))
    assert isinstance(told, OutputError)
    assert told.message == f"'out/x.json' cannot be used ({os.strerror(number)})"
    assert told.hint


@pytest.mark.parametrize(
    ("name", "shown"),
    [("out/.e.part", "out/e"), ("out/e.part", "out/e"), (b"out/e", "out/e"), ("out/.e", "out/.e"), (3, None)],
)
def test_the_name_is_the_one_that_people_know(name: str | bytes | int, shown: str | None) -> None:
    told = explained(OSError(errno.ENOSPC, "No space left on device", name))
    assert told is not None
    assert told.where == shown


@pytest.mark.parametrize("error", [OSError("odd"), OSError(errno.EIO, "I/O error"), ValueError("full")])
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert explained(error) is None


def test_a_command_says_it_in_a_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "model"))

    monkeypatch.setattr("vidseg.eval.demo.build_tracker", build)
    assert cli.main(["demo", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "vidseg: the disk is full (No space left on device)"
    assert len(told) == 3


def test_a_folder_is_no_target_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("clips", "taken"):
        (tmp_path / name).mkdir()
    (tmp_path / "clips/a.mp4").touch()
    (tmp_path / "clips/a.json").write_text('{"box": [1, 2, 30, 40]}')
    assert cli.main(["batch", "make", "clips", "--out", "taken"]) == 2
    assert capsys.readouterr().err == (
        "vidseg: 'taken' cannot be used (Is a directory)\n  fix: it is a folder; give the name of a file\n"
    )
