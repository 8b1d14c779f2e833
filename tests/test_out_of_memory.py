"""Memory that ran out is told in one way, whoever noticed it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import vidseg
from support.hard_videos import numbered
from vidseg import cli
from vidseg.errors import OutOfMemoryError, RunError
from vidseg.out_of_memory import explained
from vidseg.testing import FakeSession, FakeTracker
from vidseg.trackers.contract import Frame, FrameResult

ON_GPU = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB."
BOX = {"box": [20, 20, 40, 40]}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError(ON_GPU), "the memory of the GPU ran out (2.50 GiB more were asked for)"),
        (RuntimeError("CUDA error: out of memory"), "the memory of the GPU ran out"),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), "the memory of the GPU ran out"),
        (
            RuntimeError(
                "MPS backend out of memory (MPS allocated: 9 GB). Tried to allocate 1.00 GB on pool."
            ),
            "the memory of the GPU ran out (1.00 GB more were asked for)",
        ),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: "
                "you tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
            ),
            "the memory of this machine ran out (4096 bytes more were asked for)",
        ),
        (MemoryError(), "the memory of this machine ran out"),
    ],
)
def test_is_recognised(error: Exception, message: str) -> None:
    told = explained(error)
    assert told is not None
    assert told.message == message
    assert "--image-size" in str(told.hint)
    assert explained(told) is told


def test_what_libraries_say_of_this_machine_is_recognised() -> None:
    too_much = 1 << 60
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(too_much, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(too_much, np.uint8)
    for raised in (of_torch, of_numpy):
        told = explained(raised.value)
        assert told is not None
        assert "this machine ran out (1" in told.message


@pytest.mark.parametrize("error", [RuntimeError("no kernel"), ValueError("out of memory"), RunError("disk")])
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert explained(error) is None


class Hungry(FakeTracker):
    """Runs out of memory on the fourth frame."""

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FakeSession:
        session = super().start(num_frames, reverse)
        step = session.step

        def hungry(frame: Frame) -> FrameResult:
            if frame.index == 3:
                raise torch.OutOfMemoryError(ON_GPU)
            return step(frame)

        session.step = hungry  # type: ignore[method-assign]
        return session


def test_a_run_that_ran_out_keeps_what_it_has_and_says_why(tmp_path: Path) -> None:
    video = numbered(tmp_path / "clip.mp4", 8, options={"g": "5"})
    with pytest.raises(OutOfMemoryError, match="memory of the GPU") as failed:
        vidseg.track(video, BOX, tracker=Hungry(), out=tmp_path / "out", formats=["rle"], save_every=2)
    assert "image_size" in str(failed.value)  # as Python calls the option
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert (record["status"], record["error"]["kind"]) == ("failed", "OutOfMemoryError")
    summary = vidseg.track(
        video, BOX, tracker=FakeTracker(), out=tmp_path / "out", formats=["rle"], resume=True
    )
    assert (summary.status, summary.frames_done) == ("done", 8)


def test_commands_say_it_in_three_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(options: object) -> None:
        raise torch.OutOfMemoryError(ON_GPU)

    monkeypatch.setattr("vidseg.eval.demo.build_tracker", build)
    assert cli.main(["demo", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "vidseg: the memory of the GPU ran out (2.50 GiB more were asked for)"
    assert len(told) == 2
