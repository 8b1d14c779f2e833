"""Reads folders of frames: one image file a frame, in natural order of their names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator
from pathlib import Path

from vidseg.errors import DecodeError, SourceError, told
from vidseg.pipeline.read.frame_range import FrameRange
from vidseg.pipeline.read.images import Images, read_frame
from vidseg.pipeline.read.info import ASSUMED_FRAME_RATE, SourceInfo
from vidseg.trackers.contract import Frame

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def open_folder(
    folder: Path, span: FrameRange, *, reverse: bool
) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    """The folder's facts, and a generator of its frames.

    A frame's number is its file's place in natural order, whatever number its name holds.

    Raises:
        SourceError: no images, two files of one stem, a link to a file that is not there, an unreadable first
            image, a start past the end.
    """
    files = list_frames(folder)
    if (broken := next(filter(_is_broken_link, files), None)) is not None:
        raise _unreadable(broken, FileNotFoundError("a link to a file that is not there"))
    wanted = span.slice(len(files), folder.name)
    first = wanted[-1] if reverse else wanted[0]
    images = Images(len(files), lambda number: read_frame(files[number]))
    try:
        size_hw = images[first].shape[:2]
    except Exception as failure:  # on damaged files Pillow may raise anything
        raise _unreadable(files[first], failure) from None
    info = SourceInfo(
        kind="frames",
        name=folder.resolve().name,
        path=folder,
        size_hw=size_hw,
        num_frames_from_header=len(files),
        num_frames=len(files),
        codec=files[first].suffix.lower().lstrip("."),
        frame_files=[file.name for file in files],
    )
    return info, _frames(files, images, wanted[::-1] if reverse else wanted, size_hw)


def list_frames(folder: Path) -> list[Path]:
    """The image files of a folder in natural order: 9.jpg comes before 10.jpg.

    Links to files that are not there are among them: without them the frames behind them would move up.
    """
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES
        and not file.name.startswith(".")
        and (file.is_file() or _is_broken_link(file))
    ]
    if not files:
        raise SourceError(
            f"the folder '{folder}' holds no images",
            hint=f"give a folder with one image per frame ({', '.join(IMAGE_SUFFIXES)})",
        )
    files.sort(key=lambda file: (natural_key(file.stem), file.name))
    for one, other in itertools.pairwise(files):
        if one.stem == other.stem:
            raise SourceError(
                f"the folder '{folder}' holds both '{one.name}' and '{other.name}'",
                hint="keep one image per frame there; masks belong in a folder of their own",
            )
    return files


def _is_broken_link(file: Path) -> bool:
    return file.is_symlink() and not file.exists()


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers in names by value, and letters regardless of case."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part]


def _frames(
    files: list[Path], images: Images, wanted: range, size_hw: tuple[int, int]
) -> Generator[Frame, None, None]:
    for count, index in enumerate(wanted):
        try:
            image = images[index]
        except Exception as failure:  # Pillow may raise anything, as above
            error = _unreadable(files[index], failure)
            raise DecodeError(error.message, frames_read=count, hint=error.hint) from None
        if image.shape[:2] != size_hw:
            height, width = image.shape[:2]
            raise DecodeError(
                f"image '{files[index]}' is {width}x{height}, the ones before {size_hw[1]}x{size_hw[0]}",
                frames_read=count,
                hint="give images of one size",
            )
        yield Frame(index, float(index / ASSUMED_FRAME_RATE), image)


def _unreadable(file: Path, failure: Exception) -> SourceError:
    hint = getattr(failure, "hint", "replace the file or take it out of the folder")
    return SourceError(f"image '{file}' cannot be read ({told(failure)})", hint=hint)
