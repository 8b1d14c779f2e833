"""Files that are cut short, damaged, empty or no videos: what decodes is read, and the error says where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.hard_videos import (
    NUM_FRAMES,
    RECIPES,
    HardVideos,
    audio_only,
    number_in,
    numbered,
    overwritten,
    truncated,
    with_broken_packet,
    without_frames,
)
from vidseg.errors import DecodeError, SourceError, VidsegError
from vidseg.pipeline.read import read
from vidseg.pipeline.read.container_walk import find_break
from vidseg.trackers.contract import Frame


def read_to_the_break(path: Path, **options: object) -> tuple[list[Frame], VidsegError | None]:
    frames = []
    try:
        for frame in read(path, **options):
            frames.append(frame)
    except VidsegError as error:
        return frames, error
    return frames, None


@pytest.mark.parametrize("name", RECIPES)
def test_a_whole_file_never_raises(hard_videos: HardVideos, name: str) -> None:
    assert find_break(hard_videos[name]) is None
    for options in ({}, {"start": 20}, {"reverse": True}, {"start": 20, "end": 30, "reverse": True}):
        assert read_to_the_break(hard_videos[name], **options)[1] is None


def test_real_clips_never_raise(shared: Path) -> None:
    for clip in sorted((shared / "data" / "clips").glob("*.mp4")):
        assert find_break(clip) is None
        assert read_to_the_break(clip, end=30)[1] is None


TRUNCATED = [
    "b_frames.mp4",
    "b_frames.mkv",
    "open_gop.ts",
    "hevc.ts",
    "mpeg4.avi",
    "vp9.webm",
    "fragmented.mp4",
]


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_truncated_file_gives_its_good_frames_and_then_says_where_it_ends(
    hard_videos: HardVideos, tmp_path: Path, name: str
) -> None:
    whole = [frame.image for frame in read(hard_videos[name])]
    frames, error = read_to_the_break(truncated(hard_videos[name], tmp_path / name))
    assert isinstance(error, DecodeError)
    assert error.exit_code == 1
    assert error.frames_read == len(frames)
    assert 5 <= len(frames) < NUM_FRAMES
    assert "frame" in str(error.where)
    assert len(str(error).splitlines()) <= 3
    assert [frame.index for frame in frames] == list(range(len(frames)))
    good = frames[:-3]  # the last ones may lack data
    assert all(np.array_equal(frame.image, whole[frame.index]) for frame in good)


@pytest.mark.parametrize("name", TRUNCATED[:2])
def test_a_truncated_file_can_be_sought_in_and_read_in_reverse(
    hard_videos: HardVideos, tmp_path: Path, name: str
) -> None:
    path = truncated(hard_videos[name], tmp_path / name)
    forward, _ = read_to_the_break(path)
    frames, error = read_to_the_break(path, start=14)
    assert isinstance(error, DecodeError)
    assert [frame.index for frame in frames] == [frame.index for frame in forward[14:]]
    frames, error = read_to_the_break(path, reverse=True)
    assert isinstance(error, DecodeError)
    assert [frame.index for frame in frames] == [frame.index for frame in forward[::-1]]
    assert read_to_the_break(path, start=2, end=12)[1] is None


DAMAGED = [
    "b_frames.mp4",
    "b_frames.mkv",
    "open_gop.ts",
    "mpeg4.avi",
    "mpeg2.mpg",
    "intra_only.mov",
    "hevc.ts",
]


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_read_past_the_damage_which_is_told_at_the_end(
    hard_videos: HardVideos, tmp_path: Path, name: str
) -> None:
    frames, error = read_to_the_break(overwritten(hard_videos[name], tmp_path / name, num_bytes=1200))
    numbers = [number_in(frame.image) for frame in frames]
    assert isinstance(error, DecodeError)
    assert error.frames_read == len(frames)
    assert numbers[:4] == [0, 1, 2, 3]
    assert numbers[-1] == NUM_FRAMES - 1
    assert len(str(error).splitlines()) <= 3
    assert [frame.index for frame in frames] == list(range(len(frames)))


@pytest.mark.parametrize("name", ["b_frames.mp4", "hevc.mp4", "intra_only.mov"])
@pytest.mark.parametrize("number", [30, -2, -1])
def test_one_packet_that_cannot_be_decoded_costs_few_frames_wherever_it_is(
    hard_videos: HardVideos, tmp_path: Path, name: str, number: int
) -> None:
    frames, error = read_to_the_break(with_broken_packet(hard_videos[name], tmp_path / name, number))
    assert isinstance(error, DecodeError)
    assert "frame" in str(error.where)
    # A lost reference picture of HEVC takes with it what refers to it, up to half a group of pictures.
    assert len(frames) >= NUM_FRAMES - (6 if name == "hevc.mp4" else 1)
    assert number_in(frames[-1].image) >= NUM_FRAMES - 3


def test_damage_outside_the_wanted_span_is_no_error(hard_videos: HardVideos, tmp_path: Path) -> None:
    path = with_broken_packet(hard_videos["b_frames.mp4"], tmp_path / "b.mp4", 30)
    assert read_to_the_break(path, end=20)[1] is None
    assert read_to_the_break(path, start=48)[1] is None
    assert read_to_the_break(path, start=48, reverse=True)[1] is None
    assert isinstance(read_to_the_break(path, start=20, reverse=True)[1], DecodeError)


def test_the_place_of_the_damage_is_near_the_broken_packet(hard_videos: HardVideos, tmp_path: Path) -> None:
    path = with_broken_packet(hard_videos["intra_only.mov"], tmp_path / "b.mov", 30)
    error = read_to_the_break(path)[1]
    assert "frame 30, 1.250 s" in str(error)


def test_files_that_are_no_videos_are_refused(hard_videos: HardVideos, tmp_path: Path) -> None:
    empty, text, cut = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "cut.mp4"
    empty.write_bytes(b"")
    text.write_text("Dear reader, this is not a video.\n" * 100)
    index_at_end = numbered(tmp_path / "index_at_end.mp4", num_frames=5)
    bad: dict[Path, str] = {
        empty: "cannot be opened as a video",
        text: "cannot be opened as a video",
        truncated(index_at_end, cut, 0.5): "cannot be opened as a video",
        audio_only(tmp_path / "sound.m4a"): "holds no video stream",
        without_frames(tmp_path / "no_frames.mp4"): "holds no frame",
    }
    for path, message in bad.items():
        for options in ({}, {"start": 3}, {"reverse": True}, {"reader": "decord"}):
            with pytest.raises(SourceError, match=message) as caught:
                read(path, **options)  # type: ignore[arg-type]
            assert path.name in str(caught.value)
            assert caught.value.exit_code == 2
            assert len(str(caught.value).splitlines()) <= 3


def test_a_file_name_is_never_taken_for_a_protocol(hard_videos: HardVideos, tmp_path: Path) -> None:
    path = tmp_path / "concat:a|b.mp4"
    path.write_bytes(hard_videos["b_frames.mp4"].read_bytes())
    assert len(list(read(path, end=3))) == 3
    percent = tmp_path / "100%d ä #.mp4"
    percent.write_bytes(path.read_bytes())
    assert len(list(read(percent, start=3, end=5))) == 2
    assert len(list(read(percent.as_uri(), end=3))) == 3
