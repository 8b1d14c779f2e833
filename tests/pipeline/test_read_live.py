"""Live sources: streams from a process on this machine, and cameras."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from support.file_server import serve
from support.hard_videos import SIZE_HW, number_in, numbered, picture
from vidseg.errors import DecodeError, SourceError
from vidseg.pipeline.read import read, stream

TESTS = Path(__file__).resolve().parent.parent


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def live_stream(protocol: str) -> Iterator[str]:
    """The address of an MPEG-TS stream of numbered pictures, 50 a second, for 4 seconds."""
    port = free_port(socket.SOCK_STREAM if protocol == "http" else socket.SOCK_DGRAM)
    sender = subprocess.Popen(
        [sys.executable, "-m", "support.live_sender", protocol, str(port)],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert sender.stdout is not None
        assert sender.stdout.readline() == "ready\n"
        yield f"{protocol}://127.0.0.1:{port}" + ("/live.ts" if protocol == "http" else "")
    finally:
        sender.kill()
        sender.communicate()


@pytest.mark.parametrize("protocol", ["http", "udp"])
def test_a_consumer_that_falls_behind_gets_the_newest_frames(protocol: str) -> None:
    with live_stream(protocol) as address, read(address, queue_frames=2, on_behind="drop") as source:
        assert source.info.kind == "stream"
        assert (source.info.size_hw, source.info.codec) == (SIZE_HW, "h264")
        assert source.info.is_live
        assert not source.info.can_seek
        frames = []
        for frame in source:
            frames.append(frame)
            time.sleep(0.15)
            if len(frames) == 12:
                break
        missed = frames[-1].index - frames[0].index - (len(frames) - 1)
        assert missed > 0
        assert source.frames_dropped >= missed
    offsets = {number_in(frame.image) - frame.index for frame in frames}
    assert len(offsets) == 1  # a frame keeps its number in the stream, whatever was dropped before it


@pytest.mark.parametrize("protocol", ["http", "udp"])
def test_a_consumer_that_asks_to_wait_gets_every_frame(protocol: str) -> None:
    with live_stream(protocol) as address, read(address, on_behind="wait", queue_frames=2, end=40) as source:
        numbers = []
        for frame in source:
            numbers.append(number_in(frame.image))
            time.sleep(0.03)
    assert source.frames_dropped == 0
    assert numbers == list(range(numbers[0], numbers[0] + 40))


def test_a_live_stream_drops_unless_told_otherwise_and_ends_when_the_sender_does() -> None:
    with live_stream("http") as address:
        source = read(address, start=5)
        indices = [frame.index for frame in source]
        time.sleep(0.01)
    assert indices[0] >= 5
    assert indices == sorted(set(indices))
    assert indices[-1] > 150


@pytest.mark.parametrize("says_length", [True, False])
def test_a_download_gives_every_picture_that_came_and_is_broken_if_less_came_than_was_said(
    tmp_path: Path, says_length: bool
) -> None:
    content = numbered(tmp_path / "a.ts", 24, options={"bf": "3", "g": "6"}).read_bytes()
    with serve(content) as server:
        server.says_length = says_length
        address = server.url.replace("weights.pt", "a.ts")
        assert [frame.index for frame in read(address, on_behind="wait")] == list(range(24))
        server.breaks.append(len(content) // 2)
        told: list[str] = []
        frames: list[int] = []
        try:
            for frame in read(address, on_behind="wait"):
                frames.append(frame.index)
        except DecodeError as error:
            told.append(error.message)
    assert 6 < len(frames) < 24
    assert [message.partition("' ")[2] for message in told] == says_length * [
        "broke off (Input/output error)"
    ]


def test_a_silent_datagram_stream_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SILENCE_S", 1.0)
    with live_stream("udp") as address:
        frames = list(read(address))
    assert number_in(frames[-1].image) > 190


def test_nothing_at_an_address_is_an_error_that_hides_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SILENCE_S", 0.5)
    port = free_port(socket.SOCK_DGRAM)
    with pytest.raises(SourceError, match=f"udp://127.0.0.1:{port}"):
        read(f"udp://127.0.0.1:{port}")
    with pytest.raises(SourceError) as caught:
        read("rtsp://user:secret@127.0.0.1:9/door")
    assert "secret" not in str(caught.value)
    assert "rtsp://127.0.0.1:9/door" in str(caught.value)


@pytest.mark.parametrize("source", ["udp://127.0.0.1:9", 0])
def test_live_sources_are_not_read_in_reverse(source: str | int) -> None:
    with pytest.raises(SourceError, match="reverse"):
        read(source, reverse=True)


class FakeCapture:
    """An OpenCV camera that gives four pictures, in its BGR order."""

    def __init__(self, number: int) -> None:
        self.given = 0
        self.is_released = False
        cameras.append(self)

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, _property: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        if self.given == 4:
            return False, None
        self.given += 1
        return True, picture(self.given - 1)[:, :, ::-1]

    def release(self) -> None:
        self.is_released = True


cameras: list[FakeCapture] = []


@pytest.mark.parametrize("number", [0, "0"])
def test_a_camera_gives_rgb_frames_until_it_is_closed(
    number: int | str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.chdir(tmp_path)
    with read(number, end=3, on_behind="wait") as source:
        assert (source.info.kind, source.info.name, source.info.frame_rate) == ("camera", "camera 0", 30)
        assert source.info.is_live
        frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert all(np.array_equal(frame.image, picture(frame.index)) for frame in frames)
    assert [frame.pts_seconds for frame in frames] == sorted(frame.pts_seconds for frame in frames)
    assert cameras[-1].is_released


def test_a_camera_that_is_unplugged_is_an_error_after_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    iterator = iter(read(0, on_behind="wait"))
    assert [next(iterator).index for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(DecodeError, match="no more pictures") as caught:
        next(iterator)
    assert caught.value.frames_read == 4


def test_a_camera_that_is_never_read_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    read(0).close()
    camera = weakref.ref(cameras.pop())
    assert camera() is None  # an OpenCV capture that nobody holds has released its camera
