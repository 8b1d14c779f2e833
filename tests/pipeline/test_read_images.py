"""Images of every mode, and files of several pictures: never black where they are not."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

import vidseg
from support.hard_videos import SIZE_HW, number_in, picture
from vidseg.errors import DecodeError, SourceError
from vidseg.testing import FakeTracker

NUM_FRAMES = 5
BOX = {"box": [10, 10, 60, 50]}
GREY = [picture(k)[:, :, 0] for k in range(NUM_FRAMES)]


def save(folder: Path, images: list[Any], suffix: str = "tif") -> Path:
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
            folder / f"{number}.{suffix}"
        )
    return folder


def assert_shows_grey(source: Path, off: int = 1) -> None:
    """The frames are `GREY`, but for `off` levels."""
    frames = list(vidseg.read(source))
    assert len(frames) == NUM_FRAMES
    for frame, grey in zip(frames, GREY, strict=True):
        assert frame.image.dtype == np.uint8
        assert frame.image.shape == (*SIZE_HW, 3)
        assert np.abs(frame.image.astype(int) - grey[:, :, None]).max() <= off


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floating_point_frames_are_scaled_by_their_range(tmp_path: Path, white: float) -> None:
    assert_shows_grey(save(tmp_path / "f", [(grey * (white / 255)).astype(np.float32) for grey in GREY]))


def test_values_slightly_out_of_the_range_are_clipped(tmp_path: Path) -> None:
    overshot = [(grey / 255 * 1.04 - 0.02).astype(np.float32) for grey in GREY]
    assert_shows_grey(save(tmp_path / "f", overshot), off=6)


@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_whole_numbers_of_any_depth_are_scaled_by_it(tmp_path: Path, depth: int) -> None:
    deep = [(grey.astype(np.uint16) << 8 | grey) >> (16 - depth) for grey in GREY]
    assert_shows_grey(save(tmp_path / "f", deep, "png"))
    assert_shows_grey(save(tmp_path / "g", deep, "tif"))


def test_whole_numbers_of_32_bits_are_scaled(tmp_path: Path) -> None:
    assert_shows_grey(save(tmp_path / "f", [grey.astype(np.int32) << 12 for grey in GREY]))
    folder = tmp_path / "unsigned"
    folder.mkdir()
    for number, grey in enumerate(GREY):
        path = folder / f"{number}.tif"
        Image.fromarray((grey.astype(np.uint32) << 24).view(np.int32)).save(path)
        data = path.read_bytes()
        # Pillow says in the tag SampleFormat (339; one short) that the numbers have a sign.
        signed = struct.pack("<HHIH", 339, 3, 1, 2)
        assert data.count(signed) == 1
        path.write_bytes(data.replace(signed, struct.pack("<HHIH", 339, 3, 1, 1)))
    assert_shows_grey(folder)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("depth", [12, 16])
def test_colours_of_16_bits_keep_their_depth(tmp_path: Path, suffix: str, depth: int) -> None:
    for number in range(NUM_FRAMES):
        rgb = picture(number).astype(np.uint16)
        deep = (rgb << 8 | rgb) >> (16 - depth)
        assert cv2.imwrite(str(tmp_path / f"{number}.{suffix}"), deep[:, :, ::-1])
    for frame in vidseg.read(tmp_path):
        assert np.abs(frame.image.astype(int) - picture(frame.index)).max() <= 1


def test_colours_in_floating_point_are_read(tmp_path: Path) -> None:
    for number in range(NUM_FRAMES):
        rgb = (picture(number) / 255).astype(np.float32)
        assert cv2.imwrite(str(tmp_path / f"{number}.tiff"), rgb[:, :, ::-1])
    for frame in vidseg.read(tmp_path):
        assert np.abs(frame.image.astype(int) - picture(frame.index)).max() <= 1


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(-3, 3, 96 * 64),
        np.linspace(0, 1e9, 96 * 64),
        np.linspace(0, 7, 96 * 64),
        np.r_[np.nan, np.ones(96 * 64 - 1)],
        np.r_[np.inf, np.ones(96 * 64 - 1)],
    ],
    ids=["signed", "huge", "few", "nan", "inf"],
)
def test_values_without_a_plain_range_are_refused_with_a_remedy(tmp_path: Path, values: np.ndarray) -> None:
    save(tmp_path, [values.reshape(SIZE_HW).astype(np.float32)])
    with pytest.raises(SourceError, match=r"0\.tif' cannot be read") as caught:
        vidseg.read(tmp_path)
    assert "save the images with 8 bits" in str(caught.value)


@pytest.mark.parametrize(
    "values", [np.arange(96 * 64) % 7, -1 - np.arange(96 * 64)], ids=["labels", "negative"]
)
def test_whole_numbers_that_are_no_picture_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    save(tmp_path, [Image.fromarray(values.reshape(SIZE_HW).astype(np.int32))])
    with pytest.raises(SourceError, match="no plain range"):
        vidseg.read(tmp_path)


def test_one_white_serves_all_frames_whatever_is_read_first(tmp_path: Path) -> None:
    folder = save(tmp_path / "f", [np.full(SIZE_HW, v, np.float32) for v in (0.2, 0.9, 100.0, 200.0)])
    forward = [frame.image[0, 0, 0] for frame in vidseg.read(folder)]
    assert forward == [0, 1, 100, 200]
    assert [frame.image[0, 0, 0] for frame in vidseg.read(folder, start=1)] == forward[1:]
    assert [frame.image[0, 0, 0] for frame in vidseg.read(folder, reverse=True)] == forward[::-1]


def test_a_frame_out_of_the_others_range_is_damage(tmp_path: Path) -> None:
    values = [0.5] * 100
    values[50] = 200.0  # not among those that are looked at to find the range
    save(tmp_path, [np.full((4, 4), v, np.float32) for v in values])
    with pytest.raises(
        DecodeError, match=r"50\.tif' cannot be read \(its values go from 200 to 200"
    ) as caught:
        list(vidseg.read(tmp_path))
    assert caught.value.frames_read == 50


def test_a_black_frame_stays_black(tmp_path: Path) -> None:
    for dtype in (np.float32, np.int32, np.uint16):
        save(tmp_path, [np.zeros(SIZE_HW, dtype)])
        (frame,) = vidseg.read(tmp_path)
        assert not frame.image.any()


def image_of(mode: str) -> Image.Image:
    rgb = Image.fromarray(picture(5))
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(rgb, srgb, lab, outputMode="LAB")
    if mode == "PA":
        return rgb.quantize(256).convert("PA")
    return rgb.convert("RGBA").convert(mode) if mode == "RGBa" else rgb.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *(
            (mode, "tif")
            for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB")
        ),
        *((mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *((mode, "jpg") for mode in ("L", "RGB", "CMYK", "YCbCr")),
        *((mode, "webp") for mode in ("RGB", "RGBA")),
        *((mode, "bmp") for mode in ("1", "L", "P", "RGB", "RGBA")),
    ],
)
def test_every_mode_of_every_format_is_shown(tmp_path: Path, mode: str, suffix: str) -> None:
    image = Image.fromarray(GREY[0].astype(np.uint16) * 257) if mode == "I;16" else image_of(mode)
    try:
        save(tmp_path, [image] * 2, suffix)
    except (OSError, ValueError, KeyError) as failure:
        pytest.skip(f"Pillow writes no such file: {failure}")
    expected = GREY[0][:, :, None] if mode == "I;16" else picture(5)
    for frame in vidseg.read(tmp_path):
        assert frame.image.shape == (*SIZE_HW, 3)
        off = np.abs(frame.image.astype(int) - expected)
        # Grey, palettes and lossy files change colours; none may lose the picture.
        assert off.mean() < (80 if mode == "1" else 25)
        assert frame.image.std() > 30
        assert number_in(frame.image) == (0 if mode == "I;16" else 5)


def test_transparency_of_a_palette_is_dropped(tmp_path: Path) -> None:
    image = Image.fromarray(picture(5)).quantize(256)
    image.save(tmp_path / "0.png", transparency=3)
    (frame,) = vidseg.read(tmp_path)
    assert number_in(frame.image) == 5


# --- Files of several pictures


def several(path: Path, **how: Any) -> Path:
    first, *others = (Image.fromarray(picture(k)) for k in range(NUM_FRAMES))
    first.save(path, save_all=True, append_images=others, **how)
    return path


ANIMATIONS = {
    "a.webp": {"duration": 100, "lossless": True},
    "a.gif": {"duration": 100},
    "a.png": {"duration": 100},
    "a.tif": {},
}


@pytest.mark.parametrize("name", ANIMATIONS)
def test_every_picture_of_an_animation_or_stack_is_a_frame(tmp_path: Path, name: str) -> None:
    path = several(tmp_path / name, **ANIMATIONS[name])
    source = vidseg.read(path)
    frames = list(source)
    assert [number_in(frame.image) for frame in frames] == list(range(NUM_FRAMES))
    assert [number_in(f.image) for f in vidseg.read(path, start=1, end=4, reverse=True)] == [3, 2, 1]
    if name != "a.tif":
        assert [frame.pts_seconds for frame in frames] == pytest.approx([k / 10 for k in range(NUM_FRAMES)])
        assert source.info.frame_rate == 10
    with pytest.raises(SourceError, match="start frame 9 is past the end"):
        list(vidseg.read(path, start=9))
    summary = vidseg.track(path, BOX, tracker=FakeTracker(), out=tmp_path / "out")
    assert summary.frames_done == NUM_FRAMES


def test_a_stack_of_12_bits_is_scaled(tmp_path: Path) -> None:
    first, *others = (Image.fromarray(grey.astype(np.uint16) << 4) for grey in GREY)
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    assert_shows_grey(tmp_path / "stack.tif")


def test_a_picture_of_two_views_is_one_frame(tmp_path: Path) -> None:
    several(tmp_path / "stereo.mpo", format="MPO")
    (frame,) = vidseg.read(tmp_path / "stereo.mpo")
    assert number_in(frame.image) == 0
    folder = tmp_path / "frames"
    folder.mkdir()
    several(folder / "0.jpg", format="MPO")
    assert len(list(vidseg.read(folder))) == 1


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif"])
def test_an_animation_among_frames_is_refused(tmp_path: Path, name: str) -> None:
    several(tmp_path / name, **ANIMATIONS[name])
    with pytest.raises(SourceError, match=r"a\..*' cannot be read \(it holds 5 frames\)") as caught:
        vidseg.read(tmp_path)
    assert "give the file itself as the source" in str(caught.value)


@pytest.mark.parametrize("name", ["a.webp", "a.tif"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7])
def test_a_broken_animation_is_told(tmp_path: Path, name: str, kept: float) -> None:
    whole = several(tmp_path / name, **ANIMATIONS[name]).read_bytes()
    broken = tmp_path / f"broken-{name}"
    broken.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises((SourceError, DecodeError), match="broken-a") as caught:
        list(vidseg.read(broken))
    assert len(str(caught.value).splitlines()) <= 3


def test_what_run_json_says_of_a_stack(tmp_path: Path) -> None:
    vidseg.track(several(tmp_path / "a.tif"), BOX, tracker=FakeTracker(), out=tmp_path / "out")
    source = json.loads((tmp_path / "out/run.json").read_text())["source"]
    assert (source["kind"], source["codec"], source["num_frames"]) == ("video", "tiff", NUM_FRAMES)


def test_a_damaged_header_does_not_keep_the_reader_busy(tmp_path: Path) -> None:
    data = bytearray(several(tmp_path / "a.webp", **ANIMATIONS["a.webp"]).read_bytes())
    canvas = data.index(b"VP8X") + 12  # three bytes each: width and height, less one
    data[canvas : canvas + 3] = (999_999).to_bytes(3, "little")
    (tmp_path / "a.webp").write_bytes(data)
    with pytest.raises(SourceError, match="says that it is 1000000x64 pixels large"):
        vidseg.read(tmp_path / "a.webp")
