"""What fails while reading is told as such, and never as a failure to write."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vidseg
from support.hard_videos import numbered
from vidseg.errors import DecodeError, RunError, SourceError
from vidseg.pipeline.read.decoding import Decoder
from vidseg.pipeline.read.resizing import Resizing
from vidseg.pipeline.read.source import Source
from vidseg.testing import FakeTracker
from vidseg.trackers.contract import FrameResult

BOX = {"box": [10, 10, 60, 50]}
BROKEN_DISK = OSError(errno.EIO, "Input/output error")
NUM_FRAMES = 6


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return numbered(tmp_path / "video.mp4", num_frames=NUM_FRAMES)


def recorded(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "run.json").read_text()))


@pytest.mark.parametrize("error", [BROKEN_DISK, ValueError("31 is not a valid Type")])
def test_a_decoder_that_fails_in_the_middle_leaves_a_partial_run(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = Decoder.frames

    def failing(decoder: Decoder) -> Iterator[Any]:
        for count, picture in enumerate(whole(decoder)):
            if count == 3:
                raise error
            yield picture

    monkeypatch.setattr(Decoder, "frames", failing)
    with pytest.raises(DecodeError, match=r"'video\.mp4' cannot be read on \(.*\)") as caught:
        vidseg.track(video, BOX, tracker=FakeTracker(), out=tmp_path / "out")
    assert caught.value.frames_read == 3
    record = recorded(tmp_path / "out")
    assert (record["status"], record["frames_done"]) == ("partial", 3)
    assert "written" not in record["error"]["message"]


def test_a_picture_that_cannot_be_resized_is_an_error_of_reading(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(Resizing, "_resize", failing)
    with pytest.raises(DecodeError, match="cannot be resized"):
        vidseg.track(
            video, BOX, tracker="sam2.1-hiera-tiny", allow_random_weights=True, image_size=64, device="cpu",
            out=tmp_path / "out",
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_an_overlay_that_is_painted_in_the_end_tells_what_could_not_be_read(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Source.__iter__

    def failing_at_last(source: Source) -> Iterator[Any]:
        if (tmp_path / "out" / "masks").exists():
            raise SourceError(f"'{source.name}' cannot be read (it went away)")
        return whole(source)

    monkeypatch.setattr(Source, "__iter__", failing_at_last)
    with pytest.raises(SourceError, match="cannot be read"):
        vidseg.track(video, BOX, tracker=FakeTracker(), out=tmp_path / "out", direction="backward")


def test_an_error_of_the_tracker_is_not_told_as_one_of_writing(tmp_path: Path, video: Path) -> None:
    class Failing(FakeTracker):
        def start(self, num_frames: int | None = None, reverse: bool = False) -> Any:
            session = super().start(num_frames, reverse)

            def step(frame: Any) -> FrameResult:
                raise BROKEN_DISK

            session.step = step  # type: ignore[method-assign]
            return session

    with pytest.raises(OSError, match="Input/output error"):
        vidseg.track(video, BOX, tracker=Failing(), out=tmp_path / "out")


def test_a_record_that_cannot_be_written_is_told_as_such(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run.json")

    monkeypatch.setattr("vidseg.pipeline.run_record.write_json", full)
    with pytest.raises(RunError, match="the disk is full: the run's state could not be written"):
        vidseg.track(video, BOX, tracker=FakeTracker(), out=tmp_path / "out")


def test_a_source_that_may_not_be_opened_is_refused(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("vidseg.pipeline.read.pyav_video.open_video", forbidden)
    with pytest.raises(SourceError, match=r"video\.mp4' cannot be read \(Permission denied\)"):
        vidseg.read(video)
    monkeypatch.undo()
    monkeypatch.setattr("vidseg.pipeline.run_record._contents", forbidden)
    with pytest.raises(SourceError, match="Permission denied"):
        vidseg.track(video, BOX, tracker=FakeTracker(), out=tmp_path / "out")


def test_what_the_callers_own_iterable_raises_reaches_the_caller(tmp_path: Path) -> None:
    def arrays() -> Iterator[Any]:
        yield np.zeros((48, 64, 3), np.uint8)
        raise BROKEN_DISK

    with pytest.raises(OSError, match="Input/output error"):
        list(vidseg.read(arrays()))
