"""The decord reader keeps the contract of the PyAV reader, or refuses the file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from support.hard_videos import NUM_FRAMES, HardVideos, number_in, numbered, truncated, with_broken_packet
from vidseg.errors import DecodeError, MissingExtraError, SourceError
from vidseg.pipeline.read import read

NAMES = ["b_frames.mp4", "open_gop.mp4", "b_frames.mkv", "hevc.mp4", "vp9.webm", "variable_rate.mp4"]


@pytest.fixture(autouse=True)
def _decord() -> None:
    pytest.importorskip("decord", reason="needs the extra 'decord'")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "span",
    [
        {},
        {"start": 11, "end": 27},
        {"start": 59},
        {"reverse": True},
        {"start": 7, "end": 40, "reverse": True},
    ],
)
def test_decord_gives_the_same_frames_as_pyav(
    hard_videos: HardVideos, name: str, span: dict[str, int]
) -> None:
    ours, theirs = list(read(hard_videos[name], **span)), read(hard_videos[name], reader="decord", **span)
    frames = list(theirs)
    assert [frame.index for frame in frames] == [frame.index for frame in ours]
    assert [number_in(frame.image) for frame in frames] == [frame.index for frame in ours]
    times = [frame.pts_seconds for frame in ours]
    assert [frame.pts_seconds for frame in frames] == pytest.approx(times, abs=1e-3)
    assert theirs.info == read(hard_videos[name]).info


@pytest.mark.parametrize("counterclockwise_deg", [90, 180, 270])
def test_decord_applies_rotation_too(tmp_path: Path, counterclockwise_deg: int) -> None:
    path = numbered(
        tmp_path / "turned.mp4",
        num_frames=3,
        prepare=lambda stream: stream.set_display_rotation(counterclockwise_deg),
    )
    for ours, theirs in zip(read(path), read(path, reader="decord"), strict=True):
        assert theirs.image.shape == ours.image.shape
        assert np.abs(theirs.image.astype(int) - ours.image).mean() < 12


def test_files_that_decord_reads_wrongly_are_refused(hard_videos: HardVideos, tmp_path: Path) -> None:
    cut = truncated(hard_videos["b_frames.mkv"], tmp_path / "cut.mkv")
    for path in (hard_videos["open_gop.ts"], hard_videos["no_times.avi"], hard_videos["raw.h264"], cut):
        with pytest.raises(SourceError, match="decord") as caught:
            read(path, reader="decord")
        assert "pyav" in str(caught.value.hint)


def test_damage_ends_the_frames_with_an_error(hard_videos: HardVideos, tmp_path: Path) -> None:
    path = with_broken_packet(hard_videos["b_frames.mp4"], tmp_path / "b.mp4", 40)
    frames = []

    def read_all() -> None:
        frames.extend(frame.index for frame in read(path, reader="decord"))

    with pytest.raises(DecodeError) as caught:
        read_all()
    assert 0 < caught.value.frames_read < NUM_FRAMES
    assert len(str(caught.value).splitlines()) <= 3


def test_a_start_past_the_end_is_an_error(hard_videos: HardVideos) -> None:
    with pytest.raises(SourceError, match="60 frames"):
        read(hard_videos["b_frames.mp4"], start=60, reader="decord")


def test_without_decord_the_error_says_what_to_install(
    hard_videos: HardVideos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(MissingExtraError, match=r"vidseg\[decord\]"):
        read(hard_videos["b_frames.mp4"], reader="decord")
