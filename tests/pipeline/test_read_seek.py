"""Seeking and reverse order against the one thing that is always right: decode everything, then slice."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.hard_videos import NUM_FRAMES, RECIPES, HardVideos, number_in
from vidseg.errors import SourceError
from vidseg.pipeline.read import read, reverse
from vidseg.pipeline.read.pyav_video import VideoFile
from vidseg.pipeline.read.reverse import pieces


@functools.cache
def everything(path: Path) -> list[tuple[int, float, bytes]]:
    return [(frame.index, frame.pts_seconds, frame.image.tobytes()) for frame in read(path)]


def spans(path: Path, **span: object) -> list[tuple[int, float, bytes]]:
    return [(frame.index, frame.pts_seconds, frame.image.tobytes()) for frame in read(path, **span)]


@pytest.mark.parametrize("name", RECIPES)
def test_every_video_is_decoded_in_presentation_order(hard_videos: HardVideos, name: str) -> None:
    frames = list(read(hard_videos[name]))
    assert [number_in(frame.image) for frame in frames] == list(range(NUM_FRAMES))
    times = [frame.pts_seconds for frame in frames]
    assert times == sorted(set(times))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("start", "end"), [(1, None), (11, 13), (12, 40), (23, 25), (35, 36), (59, None)])
def test_a_span_equals_the_slice(hard_videos: HardVideos, name: str, start: int, end: int | None) -> None:
    path = hard_videos[name]
    assert spans(path, start=start, end=end) == everything(path)[start:end]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("piece", [5, 64])
def test_reverse_equals_the_slice_reversed(
    hard_videos: HardVideos, name: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reverse, "MAX_PIECE_FRAMES", piece)
    path = hard_videos[name]
    assert spans(path, reverse=True) == everything(path)[::-1]
    assert spans(path, start=13, end=38, reverse=True) == everything(path)[13:38][::-1]


@settings(max_examples=40)
@given(
    name=st.sampled_from(["open_gop.ts", "variable_rate.mp4", "hevc.ts", "mpeg2.mpg", "vp9.webm"]),
    start=st.integers(0, NUM_FRAMES - 1),
    length=st.integers(1, NUM_FRAMES),
    backwards=st.booleans(),
)
def test_any_span_equals_the_slice(
    hard_videos: HardVideos, name: str, start: int, length: int, backwards: bool
) -> None:
    path = hard_videos[name]
    wanted = everything(path)[start : start + length]
    got = spans(path, start=start, end=start + length, reverse=backwards)
    assert got == (wanted[::-1] if backwards else wanted)


@pytest.mark.parametrize("name", ["raw.h264", "no_times.avi", "vp8.webm"])
def test_files_whose_packets_do_not_tell_the_order_are_counted(hard_videos: HardVideos, name: str) -> None:
    assert VideoFile(hard_videos[name]).index() is None
    with pytest.raises(SourceError, match=r"start frame 75 is past the end of .*\(60 frames\)"):
        next(iter(read(hard_videos[name], start=75)))


@pytest.mark.parametrize("name", ["open_gop.ts", "open_gop.mp4", "hevc.mp4", "variable_rate.mkv"])
def test_other_files_are_indexed_without_decoding(hard_videos: HardVideos, name: str) -> None:
    index = VideoFile(hard_videos[name]).index()
    assert index is not None
    assert list(index.keyframes) == [0, 12, 24, 36, 48]
    assert [index.keyframe_for(k).number for k in (0, 11, 12, 59)] == [0, 0, 12, 48]


def test_a_late_start_decodes_one_group_of_pictures_and_not_the_whole_file(hard_videos: HardVideos) -> None:
    from vidseg.pipeline.read.numbering import ByIndex

    path = hard_videos["b_frames.mp4"]
    index = VideoFile(path).index()
    assert index is not None
    first = next(ByIndex(path, index).pictures(50))
    assert first.number == 50
    assert index.keyframe_for(50).number == 48


@given(
    wanted=st.tuples(st.integers(0, 300), st.integers(1, 300)).map(lambda t: range(t[0], t[0] + t[1])),
    size=st.integers(1, 70),
    keyframes=st.sets(st.integers(1, 600)).map(lambda numbers: [0, *sorted(numbers)]),
)
def test_pieces_cover_a_range_backwards_and_stay_small(
    wanted: range, size: int, keyframes: list[int]
) -> None:
    cut = list(pieces(wanted, size, keyframes))
    assert [k for piece in reversed(cut) for k in piece] == list(wanted)
    assert all(0 < len(piece) <= size for piece in cut)
    assert all(a.stop == b.start for a, b in zip(cut[1:], cut, strict=False))


def test_reverse_holds_a_bounded_number_of_large_pictures() -> None:
    assert reverse.piece_frames(96 * 64 * 3 // 2) == reverse.MAX_PIECE_FRAMES
    four_k = 3840 * 2160 * 3
    assert reverse.piece_frames(four_k) * four_k <= reverse.MAX_PIECE_BYTES
    assert reverse.piece_frames(10**12) == 1


def test_the_same_file_read_both_ways_gives_the_same_pictures_of_a_real_clip(shared: Path) -> None:
    clip = shared / "data" / "clips" / "hummingbird.mp4"
    forward = [np.asarray(frame.image)[::8, ::8] for frame in read(clip, start=60, end=90)]
    backward = [np.asarray(frame.image)[::8, ::8] for frame in read(clip, start=60, end=90, reverse=True)]
    assert np.array_equal(forward, backward[::-1])
