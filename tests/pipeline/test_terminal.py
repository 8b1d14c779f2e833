"""Terminals that cannot show a name, readers that go away, disks that are full: what was done stays done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.hard_videos import numbered

ENVIRONMENTS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    numbered(tmp_path / "plain.mp4", num_frames=3).rename(tmp_path / "é–視.mp4")
    (tmp_path / "box.json").write_text('{"box": [10, 10, 60, 50]}')
    return tmp_path


def track(
    place: Path,
    shell: str = "",
    *,
    piped: bool = False,
    env: dict[str, str] | None = None,
    source: str = "é–視.mp4",
    prompt: str = "box.json",
) -> subprocess.CompletedProcess[bytes]:
    """Run the command.

    Args:
        shell: what a shell is to do with it.
        piped: write all it says to a reader that has gone.
    """
    call = [sys.executable, "-m", "vidseg", "track", source, "--prompt", prompt, "--tracker", "flow"]
    script = f'("$@" {shell}) 2>&1 | true' if piped else f'"$@" {shell}'
    line = ["sh", "-c", script, "sh", *call]
    return subprocess.run(
        line, cwd=place, env={**os.environ, **(env or {})}, capture_output=True, check=False
    )


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_terminal_without_the_letters_of_a_path_gets_them_escaped(place: Path, name: str) -> None:
    ended = track(place, env=ENVIRONMENTS[name])
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(b"done: 3 frames")
    assert b"overlay.mp4" in ended.stdout
    assert (place / "runs/é–視/run.json").exists()


def test_an_error_with_such_a_path_is_told(place: Path) -> None:
    ended = track(place, source="視.mp4", env=ENVIRONMENTS["ascii"])
    assert ended.returncode == 2
    assert ended.stderr.startswith(rb"vidseg: '\u8996.mp4' does not exist")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_went_away_is_no_failure(place: Path, unbuffered: str) -> None:
    ended = track(place, shell="|| echo failed >failed", env={"PYTHONUNBUFFERED": unbuffered}, piped=True)
    assert ended.stderr == b""
    assert (place / "runs/é–視/run.json").exists()
    assert not (place / "failed").exists()


def test_closed_streams_are_no_failure(place: Path) -> None:
    assert track(place, shell=">&- 2>&-").returncode == 0
    assert (place / "runs/é–視/run.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without room")
def test_a_full_disk_behind_standard_output_is_told(place: Path) -> None:
    ended = track(place, shell=">/dev/full")
    assert ended.returncode == 1
    assert ended.stderr == b"vidseg: standard output cannot be written (No space left on device)\n"


def test_prompts_from_a_closed_standard_input_are_an_error(place: Path) -> None:
    ended = track(place, shell="<&-", prompt="-")
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"vidseg: there is no standard input")
