"""Folders of frames: order, image types, and what is wrong with a folder."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support.hard_videos import SIZE_HW, number_in, picture
from vidseg.errors import DecodeError, SourceError
from vidseg.pipeline.read import read
from vidseg.pipeline.read.folder import natural_key


def save_frames(folder: Path, names: list[str]) -> Path:
    """One numbered picture per name, in this order, saved in another."""
    folder.mkdir(exist_ok=True)
    named = list(enumerate(names))
    random.Random(0).shuffle(named)
    for number, name in named:
        Image.fromarray(picture(number)).save(folder / name)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        [f"{k:05d}.jpg" for k in range(12)],
        [f"{k}.png" for k in range(12)],
        [f"frame{k}.PNG" for k in (3, 7, 8, 11, 100, 2000)],
        [f"clip2_shot10_{k}.bmp" for k in (9, 10, 11)],
        ["1.jpg", "2.jpeg", "3.png", "4.webp", "5.bmp", "6.tif", "7.tiff"],
        ["a.png", "b1.png", "b2.png", "b10.png", "c.png"],
    ],
)
def test_files_are_read_in_natural_order_and_numbered_from_0(tmp_path: Path, names: list[str]) -> None:
    source = read(save_frames(tmp_path / "dog", names))
    assert source.info.kind == "frames"
    assert source.info.name == "dog"
    assert source.info.frame_files == names
    assert source.info.num_frames == len(names)
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(len(names)))
    assert [number_in(frame.image) for frame in frames] == list(range(len(names)))
    assert [frame.pts_seconds for frame in frames] == pytest.approx([k / 24 for k in range(len(names))])


def test_a_span_of_a_folder_equals_the_slice_in_both_directions(tmp_path: Path) -> None:
    folder = save_frames(tmp_path, [f"{k}.png" for k in range(12)])
    assert [frame.index for frame in read(folder, start=3, end=7)] == [3, 4, 5, 6]
    assert [number_in(frame.image) for frame in read(folder, start=3, end=7, reverse=True)] == [6, 5, 4, 3]
    with pytest.raises(SourceError, match=r"start frame 12 is past the end of .*\(12 frames\)"):
        read(folder, start=12)


@given(st.lists(st.integers(0, 10**6), unique=True), st.text("abcXYZ_-", max_size=4))
def test_numbers_in_names_sort_by_value(numbers: list[int], prefix: str) -> None:
    names = [f"{prefix}{number}" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{prefix}{number}" for number in sorted(numbers)]


@given(st.lists(st.text(max_size=8)))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    sorted(names, key=natural_key)


def test_grey_palette_alpha_16_bit_and_bilevel_images_become_rgb(tmp_path: Path) -> None:
    grey = picture(5)[:, :, 0]
    images = {
        "0.png": Image.fromarray(picture(5)).convert("RGBA"),
        "1.png": Image.fromarray(picture(5)).quantize(256),
        "2.png": Image.fromarray(grey),
        "3.png": Image.fromarray((grey.astype(np.uint16) << 8) + 255),
        "4.png": Image.fromarray(grey).convert("1", dither=Image.Dither.NONE),
        "5.png": Image.fromarray(grey).convert("LA"),
        "6.jpg": Image.fromarray(picture(5)).convert("CMYK"),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
    frames = list(read(tmp_path))
    assert len(frames) == len(images)
    for frame in frames:
        assert frame.image.shape == (*SIZE_HW, 3)
        assert frame.image.dtype == np.uint8
        assert number_in(frame.image) == 5
    assert np.array_equal(frames[0].image, picture(5))
    assert np.array_equal(frames[2].image, np.repeat(grey[:, :, None], 3, axis=2))
    assert np.array_equal(frames[3].image, frames[2].image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    # What each value asks of the stored picture (EXIF 2.32, tag 0x0112).
    upright = {
        1: lambda image: image,
        2: lambda image: image[:, ::-1],
        3: lambda image: image[::-1, ::-1],
        4: lambda image: image[::-1],
        5: lambda image: image.transpose(1, 0, 2),
        6: lambda image: np.rot90(image, -1),
        7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
        8: lambda image: np.rot90(image),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"0.{suffix}"
    Image.fromarray(picture(77)).save(file, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    stored = picture(77)
    if suffix == "jpg":
        with Image.open(file) as decoded:
            stored = np.asarray(decoded)
    expected = upright(stored)
    source = read(tmp_path)
    assert source.info.size_hw == expected.shape[:2]
    assert np.array_equal(next(iter(source)).image, expected)


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    save_frames(tmp_path, ["0.png", "1.png"])
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._0.png").write_bytes(b"what some systems leave beside a file")
    (tmp_path / "2.png").mkdir()
    assert [number_in(frame.image) for frame in read(tmp_path)] == [0, 1]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a frame")
    with pytest.raises(SourceError, match="holds no images"):
        read(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    save_frames(tmp_path, ["0.jpg", "0.png", "1.jpg"])
    with pytest.raises(SourceError, match=r"both '0\.jpg' and '0\.png'"):
        read(tmp_path)


def test_images_of_two_sizes_break_where_the_second_size_comes(tmp_path: Path) -> None:
    save_frames(tmp_path, ["0.png", "1.png", "2.png"])
    Image.fromarray(picture(0, (32, 40))).save(tmp_path / "2.png")
    iterator = iter(read(tmp_path))
    assert [next(iterator).index, next(iterator).index] == [0, 1]
    with pytest.raises(DecodeError, match=r"2\.png' is 40x32, the ones before 96x64") as caught:
        next(iterator)
    assert caught.value.frames_read == 2


@pytest.mark.parametrize("content", [b"", b"this is no image", None])
def test_a_broken_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    save_frames(tmp_path, ["0.png", "1.png", "2.png"])
    broken = tmp_path / "1.png"
    broken.write_bytes(broken.read_bytes()[:300] if content is None else content)
    iterator = iter(read(tmp_path))
    assert next(iterator).index == 0
    with pytest.raises(DecodeError, match=r"1\.png' cannot be read") as caught:
        next(iterator)
    assert caught.value.frames_read == 1
    assert len(str(caught.value).splitlines()) <= 3
    with pytest.raises(SourceError, match=r"1\.png' cannot be read"):
        read(tmp_path, start=1)


@pytest.mark.parametrize("which", [0, 2, 4])
def test_a_link_to_a_frame_that_is_not_there_is_named(tmp_path: Path, which: int) -> None:
    folder = save_frames(tmp_path / "frames", [f"{k}.png" for k in range(5)])
    (folder / f"{which}.png").unlink()
    (folder / f"{which}.png").symlink_to("gone.png")
    with pytest.raises(SourceError, match=rf"{which}\.png' cannot be read \(a link to a file") as caught:
        read(folder)
    assert "take it out" in str(caught.value)
