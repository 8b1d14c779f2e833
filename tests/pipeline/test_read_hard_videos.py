"""Rotation, uneven times, odd sizes, deep colours and headers that lie."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import resource
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.hard_videos import (
    NUM_FRAMES,
    SIZE_HW,
    HardVideos,
    encode,
    number_in,
    numbered,
    one_colour,
    picture,
    with_claimed_duration,
    with_claimed_frames,
)
from vidseg.errors import DecodeError
from vidseg.pipeline.read import read
from vidseg.pipeline.read.orientation import Orientation


@pytest.mark.parametrize("counterclockwise_deg", [0, 90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path: Path, counterclockwise_deg: int) -> None:
    path = numbered(
        tmp_path / "turned.mp4",
        num_frames=3,
        prepare=lambda stream: stream.set_display_rotation(counterclockwise_deg),
    )
    stored = [frame.image for frame in read(numbered(tmp_path / "plain.mp4", num_frames=3))]
    source = read(path)
    shown = [frame.image for frame in source]
    assert np.array_equal(shown, [np.rot90(image, counterclockwise_deg // 90) for image in stored])
    assert source.info.rotation_deg == (360 - counterclockwise_deg) % 360
    assert source.info.size_hw == shown[0].shape[:2]
    assert shown[0].flags.c_contiguous


@pytest.mark.parametrize(
    "signs",
    [
        s
        for s in itertools.product((-1, 0, 1), repeat=4)
        if tuple(map(abs, s)) in ((1, 0, 0, 1), (0, 1, 1, 0))
    ],
)
def test_every_display_matrix_sends_pixels_where_its_definition_says(signs: tuple[int, ...]) -> None:
    a, b, c, d = signs
    one = 1 << 16
    matrix = struct.pack("=9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    stored = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3)
    y, x = np.mgrid[0:4, 0:3]
    shown_x, shown_y = a * x + c * y, b * x + d * y
    shown_x, shown_y = shown_x - shown_x.min(), shown_y - shown_y.min()
    shown = np.zeros((shown_y.max() + 1, shown_x.max() + 1, 3), np.uint8)
    shown[shown_y, shown_x] = stored[y, x]
    assert np.array_equal(Orientation.from_display_matrix(matrix).apply(stored), shown)


@pytest.mark.parametrize("name", ["variable_rate.mp4", "variable_rate.mkv"])
def test_uneven_times_are_kept(hard_videos: HardVideos, name: str) -> None:
    factor = 7 / 6000 if name.endswith("mp4") else 1 / 1000
    times = [frame.pts_seconds for frame in read(hard_videos[name])]
    assert times == pytest.approx([factor * k * k for k in range(NUM_FRAMES)], abs=1e-4)


def test_missing_times_are_filled_with_the_frame_rate(hard_videos: HardVideos) -> None:
    source = read(hard_videos["raw.h264"])
    rate = float(source.info.frame_rate or 0)
    assert [frame.pts_seconds for frame in source] == pytest.approx([k / rate for k in range(NUM_FRAMES)])


def test_times_that_run_backwards_are_made_to_rise(hard_videos: HardVideos) -> None:
    times = [frame.pts_seconds for frame in read(hard_videos["no_times.avi"])]
    assert times == sorted(set(times))
    assert times[-1] - times[0] == pytest.approx((NUM_FRAMES - 1) / 24, abs=0.2)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("odd.webm", {"codec": "libvpx-vp9"}),
        ("odd.mkv", {"codec": "ffv1"}),
        ("odd.mp4", {"codec": "libx264", "pix_fmt": "yuv444p"}),
    ],
)
@pytest.mark.parametrize("size_hw", [(63, 97), (65, 49)])
def test_odd_sizes_keep_every_pixel(
    tmp_path: Path, name: str, how: dict[str, Any], size_hw: tuple[int, int]
) -> None:
    frames = list(read(numbered(tmp_path / name, num_frames=5, size_hw=size_hw, **how)))
    assert [number_in(frame.image) for frame in frames] == list(range(5))
    for frame in frames:
        assert frame.image.shape == (*size_hw, 3)
        assert frame.image.flags.c_contiguous
        off = np.abs(frame.image.astype(int) - picture(frame.index, size_hw))
        assert off[:, -1].mean() < 20
        assert off[-1].mean() < 20


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("rgb", [(200, 60, 30), (20, 190, 220)])
def test_colours_are_right_in_every_depth_subsampling_matrix_and_range(
    tmp_path: Path, pix_fmt: str, matrix: str, full_range: bool, rgb: tuple[int, int, int]
) -> None:
    path = one_colour(tmp_path / "one_colour.mp4", rgb, pix_fmt, matrix=matrix, full_range=full_range)
    for frame in read(path):
        off = np.abs(frame.image.astype(int) - rgb)
        # Rounding of 8-bit limited-range chroma; another matrix or range would be off by 9 and more.
        assert off.max() <= 4


@pytest.mark.parametrize("claim", [10, 5000])
def test_a_header_that_lies_about_the_number_of_frames_is_not_believed(
    hard_videos: HardVideos, tmp_path: Path, claim: int
) -> None:
    path = with_claimed_frames(hard_videos["mpeg4.avi"], tmp_path / "lie.avi", claim)
    source = read(path)
    assert (source.info.num_frames_from_header, source.info.num_frames) == (claim, None)
    assert [number_in(frame.image) for frame in source] == list(range(NUM_FRAMES))
    assert [frame.index for frame in read(path, start=57)] == [57, 58, 59]
    assert [frame.index for frame in read(path, start=57, reverse=True)] == [59, 58, 57]


@pytest.mark.parametrize("factor", [0.2, 50])
def test_a_header_that_lies_about_the_duration_is_not_believed(
    hard_videos: HardVideos, tmp_path: Path, factor: float
) -> None:
    path = with_claimed_duration(hard_videos["b_frames.mp4"], tmp_path / "lie.mp4", factor)
    assert [number_in(frame.image) for frame in read(path)] == list(range(NUM_FRAMES))
    assert [frame.index for frame in read(path, start=57)] == [57, 58, 59]


def test_a_change_of_size_in_the_middle_is_an_error_that_names_the_frame(tmp_path: Path) -> None:
    small = numbered(tmp_path / "small.ts", num_frames=10)
    large = numbered(tmp_path / "large.ts", num_frames=10, size_hw=(96, 128))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    iterator = iter(read(both))
    assert [next(iterator).index for _ in range(10)] == list(range(10))
    with pytest.raises(DecodeError, match="changes its size from 96x64 to 128x96") as caught:
        next(iterator)
    assert caught.value.frames_read == 10
    assert "frame 10" in str(caught.value.where)


def resident_mib() -> float:
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # What is free goes back first: glibc has a heap for each thread, and those of ended ones fill by chance.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
def test_memory_does_not_grow_with_the_length(tmp_path: Path, reverse: bool) -> None:
    size_hw = (180, 320)
    still = [picture(k, size_hw) for k in range(16)]
    path = tmp_path / "long.mp4"
    encode(path, (still[k % 16] for k in range(1200)), options={"preset": "ultrafast", "bf": "2", "g": "48"})
    early = 0.0
    for count, _ in enumerate(read(path, reverse=reverse)):
        if count == 300:
            early = resident_mib()
    assert count == 1199
    assert resident_mib() - early < 10  # a frame is 0.16 MiB: 900 of them would be 140 MiB


@pytest.mark.slow
def test_many_videos_one_after_the_other_leave_nothing_behind(hard_videos: HardVideos) -> None:
    path = hard_videos["b_frames.mp4"]

    def read_many(times: int) -> float:
        for k in range(times):
            for frame in read(path, start=k % 5 * 10, reverse=k % 2 == 1):
                if frame.index == 25:
                    break
        return resident_mib()

    early = read_many(60)
    assert read_many(300) - early < 5
    assert sum(str(path) == str(link.resolve()) for link in Path("/proc/self/fd").iterdir()) == 0


def test_pixels_that_are_not_square_are_left_as_stored(tmp_path: Path) -> None:
    def anamorphic(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = 2

    path = numbered(tmp_path / "anamorphic.mp4", num_frames=3, prepare=anamorphic)
    assert read(path).info.size_hw == SIZE_HW
