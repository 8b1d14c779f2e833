"""Motion JPEG and single pictures as cameras write them, with EXIF data in every picture."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import vidseg
from support.hard_videos import number_in, picture
from vidseg.errors import SourceError

ORIENTATION = 0x0112
NUM_FRAMES = 4

# What each value asks of the stored picture (EXIF 2.32).
UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image),
}


def jpeg(number: int, orientation: int | None) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    if orientation is not None:
        exif[ORIENTATION] = orientation
    data = BytesIO()
    Image.fromarray(picture(number)).save(data, "JPEG", quality=95, exif=exif)
    return data.getvalue()


def motion_jpeg(path: Path, orientation: int | None) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=24)
        stream.height, stream.width = picture(0).shape[:2]
        stream.pix_fmt = "yuvj420p"
        output.start_encoding()
        for number in range(NUM_FRAMES):
            packet = av.Packet(jpeg(number, orientation))
            packet.stream, packet.time_base = stream, Fraction(1, 24)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            output.mux(packet)
    return path


@pytest.mark.parametrize("suffix", ["avi", "mov", "mkv"])
def test_motion_jpeg_with_exif_data_is_read(tmp_path: Path, suffix: str) -> None:
    path = motion_jpeg(tmp_path / f"camera.{suffix}", None)
    assert [number_in(frame.image) for frame in vidseg.read(path)] == list(range(NUM_FRAMES))
    assert [frame.index for frame in vidseg.read(path, start=2, reverse=True)] == [3, 2]


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_motion_jpeg_is_turned_as_its_exif_data_says(tmp_path: Path, orientation: int) -> None:
    plain = [frame.image for frame in vidseg.read(motion_jpeg(tmp_path / "plain.avi", 1))]
    source = vidseg.read(motion_jpeg(tmp_path / "turned.avi", orientation))
    frames = list(source)
    for frame, stored in zip(frames, plain, strict=True):
        expected = UPRIGHT[orientation](stored)
        assert np.array_equal(frame.image, expected)
        assert frame.decoded is not None
        # The SAM 2 family has pictures resized from the decoder's samples.
        alike = cv2.resize(expected, (32, 32), interpolation=cv2.INTER_AREA)
        assert np.abs(frame.decoded.resized(32).astype(int) - alike).mean() < 12
    assert source.info.size_hw == frames[0].image.shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_exif_does_not_define_is_none(tmp_path: Path, orientation: int) -> None:
    source = vidseg.read(motion_jpeg(tmp_path / "odd.avi", orientation))
    assert [number_in(frame.image) for frame in source] == list(range(NUM_FRAMES))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_single_picture_is_turned_too(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(picture(77)).save(path, exif=exif)
    (frame,) = vidseg.read(path)
    assert frame.image.shape == UPRIGHT[orientation](picture(77)).shape
    assert np.abs(frame.image.astype(int) - UPRIGHT[orientation](picture(77))).mean() < 20


def test_decord_refuses_what_it_would_not_turn(tmp_path: Path) -> None:
    pytest.importorskip("decord", reason="needs the extra 'decord'")
    with pytest.raises(SourceError, match="decord does not turn"):
        vidseg.read(motion_jpeg(tmp_path / "turned.mov", 3), reader="decord")
