"""Colour tags that are reserved, unknown or rare: read as untagged, converted, or refused by name."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import vidseg
from support.hard_videos import SIZE_HW, encode, number_in, numbered, picture
from support.parity import small_tracker
from vidseg.cli import main
from vidseg.compat import SAM2VideoPredictor
from vidseg.errors import DecodeError
from vidseg.pipeline.read.orientation import Orientation
from vidseg.pipeline.read.pictures import ToRgb
from vidseg.pipeline.read.resizing import Resizing

NUM_FRAMES = 3
RESERVED_MATRICES = [3, 18, 255]
"""H.273 reserves 3 and all from 18 on."""
WITHOUT_FORMULA = [10, 11, 13, 14, 15, 16, 17]
BOX = '{"box": [10, 10, 60, 50]}'


def with_colour_box(path: Path, *, primaries: int = 1, transfer: int = 1, matrix: int = 1) -> Path:
    """An MP4 whose colour box says this, and whose stream says nothing."""

    def tag(stream: Any) -> None:
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1

    numbered(path, num_frames=NUM_FRAMES, codec="mpeg4", prepare=tag)
    data = bytearray(path.read_bytes())
    place = data.index(b"nclx") + 4
    struct.pack_into(">HHH", data, place, primaries, transfer, matrix)
    path.write_bytes(data)
    return path


def prores(path: Path, tag: int) -> Path:
    """ProRes whose frame headers give a tag for primaries, transfer and matrix."""
    encode(path, (picture(k) for k in range(NUM_FRAMES)), codec="prores_ks", pix_fmt="yuv422p10le")
    data = bytearray(path.read_bytes())
    place = -1
    while (place := data.find(b"icpf", place + 1)) >= 0:
        data[place + 18 : place + 21] = bytes([tag] * 3)
    path.write_bytes(data)
    return path


def images_of(path: Path) -> np.ndarray:
    return np.stack([frame.image for frame in vidseg.read(path)])


@pytest.fixture(scope="module")
def untagged(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = with_colour_box(
        tmp_path_factory.mktemp("untagged") / "video.mp4", primaries=2, transfer=2, matrix=2
    )
    return images_of(path)


@pytest.mark.parametrize("matrix", RESERVED_MATRICES)
def test_a_reserved_matrix_is_no_matrix(tmp_path: Path, untagged: np.ndarray, matrix: int) -> None:
    path = with_colour_box(tmp_path / "video.mp4", matrix=matrix)
    assert np.array_equal(images_of(path), untagged)
    assert [frame.index for frame in vidseg.read(path, reverse=True)] == [2, 1, 0]


def test_any_primaries_and_transfer_change_nothing_of_the_image_nor_of_what_trackers_see(
    tmp_path: Path, untagged: np.ndarray
) -> None:
    shown = None
    values = [*range(25), 255]
    for primaries, transfer in itertools.chain(((v, 1) for v in values), ((1, v) for v in values)):
        path = with_colour_box(tmp_path / "video.mp4", primaries=primaries, transfer=transfer, matrix=2)
        for frame in vidseg.read(path):
            assert np.array_equal(frame.image, untagged[frame.index])
            assert frame.decoded is not None
        resized = frame.decoded.resized(32)
        shown = resized if shown is None else shown
        assert np.array_equal(resized, shown)


@pytest.mark.parametrize("tag", [0, 3, 255])
def test_prores_headers_that_say_nothing(tmp_path: Path, tag: int) -> None:
    path = prores(tmp_path / "video.mov", tag)
    frames = list(vidseg.read(path))
    assert [number_in(frame.image) for frame in frames] == [0, 1, 2]
    assert frames[0].decoded is not None
    assert number_in(frames[2].decoded.resized(96)) == 2


@pytest.mark.parametrize("colour_range", [3, 7, 255])
def test_an_unknown_range_is_no_range(colour_range: int) -> None:
    # No file can carry one that FFmpeg's readers let through; decoders of the future may.
    stored = av.VideoFrame.from_ndarray(picture(5)).reformat(format="yuv420p")
    plain = ToRgb(Orientation())(stored)
    stored.color_range = colour_range
    assert np.array_equal(ToRgb(Orientation())(stored), plain)


def test_tags_that_change_in_the_middle_are_heeded_from_there(tmp_path: Path) -> None:
    stored = av.VideoFrame.from_ndarray(picture(5)).reformat(format="yuv420p")
    resizing = Resizing(Orientation())
    for matrix, colour_range in ((1, 1), (3, 0), (9, 2), (6, 0), (2, 1)):
        stored.colorspace, stored.color_range = matrix, colour_range
        ToRgb(Orientation())(stored)
        assert np.array_equal(resizing.resize(stored, 32), Resizing(Orientation()).resize(stored, 32))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv444p10le"])
@pytest.mark.parametrize("full_range", [False, True])
def test_ycgco_is_converted(tmp_path: Path, pix_fmt: str, full_range: bool) -> None:
    rgb = (200, 60, 30)
    red, green, blue = (value / 255 for value in rgb)
    # ITU-T H.273, section 8.3, matrix 8.
    luma, orange = (red + 2 * green + blue) / 4, (red - blue) / 2
    green_axis = (2 * green - red - blue) / 4
    depth = 10 if "10" in pix_fmt else 8
    top, step = (1 << depth) - 1, 1 << (depth - 8)
    samples = (
        [luma * top, *(c * top + (1 << (depth - 1)) for c in (green_axis, orange))]
        if full_range
        else [step * (16 + 219 * luma), *(step * (128 + 224 * c) for c in (green_axis, orange))]
    )
    frame = av.VideoFrame(SIZE_HW[1], SIZE_HW[0], pix_fmt)
    dtype = np.dtype("<u2" if depth > 8 else "u1")
    for plane, sample in zip(frame.planes, samples, strict=True):
        plane.update(np.full(plane.buffer_size // dtype.itemsize, round(sample), dtype).tobytes())
    frame.colorspace, frame.color_range = 8, 2 if full_range else 1

    def tag(stream: Any) -> None:
        stream.codec_context.colorspace, stream.codec_context.color_range = 8, 2 if full_range else 1

    path = encode(tmp_path / "video.mp4", [frame] * 2, pix_fmt=pix_fmt, options={"qp": "0"}, prepare=tag)
    for read in vidseg.read(path):
        assert np.abs(read.image.astype(int) - rgb).max() <= 4
        assert read.decoded is None  # FFmpeg's filter would not convert it


@pytest.mark.parametrize(("primaries", "matrix"), [(1, 1), (9, 9), (2, 2)])
def test_a_matrix_that_follows_from_the_primaries(tmp_path: Path, primaries: int, matrix: int) -> None:
    derived = with_colour_box(tmp_path / "derived.mp4", primaries=primaries, matrix=12)
    said = with_colour_box(tmp_path / "said.mp4", primaries=primaries, matrix=matrix)
    assert np.array_equal(images_of(derived), images_of(said))


@pytest.mark.parametrize("matrix", WITHOUT_FORMULA)
def test_colours_without_a_conversion_are_refused_by_name_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], matrix: int
) -> None:
    path = with_colour_box(tmp_path / "video.mp4", matrix=matrix)
    with pytest.raises(DecodeError, match=r"colour matrix .* cannot be converted to RGB"):
        list(vidseg.read(path))
    (tmp_path / "box.json").write_text(BOX)
    out = tmp_path / "out"
    assert main(["track", str(path), "--prompt", str(tmp_path / "box.json"), "--out", str(out)]) == 1
    told = capsys.readouterr().err
    assert "'video.mp4', frame 0" in told
    assert "foresaw" not in told
    assert len(told.splitlines()) == 3
    assert not out.exists()


@pytest.mark.parametrize(
    "tags", [{"matrix": 3}, {"transfer": 3}, {"primaries": 3}, {"transfer": 10}], ids=str
)
@pytest.mark.parametrize("kind", ["flow", "engine"])
def test_every_tracker_and_the_official_interface_track_it(
    tmp_path: Path, kind: str, tags: dict[str, int]
) -> None:
    path = with_colour_box(tmp_path / "video.mp4", **tags)
    tracker = vidseg.load("flow") if kind == "flow" else small_tracker(tmp_path)
    summary = vidseg.track(path, json.loads(BOX), tracker=tracker, out=tmp_path / "out")
    assert (summary.status, summary.frames_done) == ("done", NUM_FRAMES)
    if kind == "engine":
        predictor = SAM2VideoPredictor(tracker)
        state = predictor.init_state(str(path))
        predictor.add_new_points_or_box(state, 0, 1, box=[10, 10, 60, 50])
        assert len(list(predictor.propagate_in_video(state))) == NUM_FRAMES
