"""Reads files of several pictures of which FFmpeg reads one or none: TIFF stacks, animated WebP and AVIF."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.errors import DecodeError, SourceError, told
from vidseg.pipeline.read.frame_range import FrameRange
from vidseg.pipeline.read.images import Images, samples_of
from vidseg.pipeline.read.info import ASSUMED_FRAME_RATE, SourceInfo
from vidseg.trackers.contract import Frame

if TYPE_CHECKING:
    from PIL import Image

    from vidseg.pipeline.read.images import Samples

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_picture_file(path: Path) -> bool:
    """Whether the first bytes of a file are those of a kind that is read here."""
    with path.open("rb") as file:
        start = file.read(16)
    return (
        start[:4] in TIFF_STARTS
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or start[4:12] == b"ftypavis"
    )


def open_picture_file(
    path: Path, span: FrameRange, *, reverse: bool
) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    """The facts of a file, and a generator of its frames: its pictures or pages, in their order.

    Raises:
        SourceError: it cannot be opened, its first wanted picture cannot be read, or the start is past the
            end.
    """
    try:
        with _open(path) as opened:
            images = _images(opened)
            wanted = span.slice(len(images), path.name)
            size_hw = images[wanted[-1] if reverse else wanted[0]].shape[:2]
            info = SourceInfo(
                kind="video",
                name=path.name,
                path=path,
                size_hw=size_hw,
                frame_rate=_frame_rate(opened),
                num_frames_from_header=len(images),
                num_frames=len(images),
                codec=str(opened.format).lower(),
            )
    except SourceError:
        raise
    except Exception as failure:  # on damaged files Pillow may raise anything
        hint = getattr(failure, "hint", "check that the file is whole; or save it as PNG files or as a video")
        raise SourceError(f"'{path.name}' cannot be read ({told(failure)})", hint=hint) from None
    return info, _frames(path, wanted[::-1] if reverse else wanted, size_hw)


def _frames(path: Path, wanted: range, size_hw: tuple[int, int]) -> Generator[Frame, None, None]:
    with _open(path) as opened:
        images = _images(opened)
        for count, number in enumerate(wanted):
            try:
                image = images[number]
            except Exception as failure:  # Pillow may raise anything, as above
                raise DecodeError(
                    f"'{path.name}' is damaged: {told(failure)}",
                    where=f"frame {number}",
                    frames_read=count,
                    hint=getattr(failure, "hint", None),
                ) from None
            if image.shape[:2] != size_hw:
                height, width = image.shape[:2]
                raise DecodeError(
                    f"'{path.name}' changes its size from {size_hw[1]}x{size_hw[0]} to {width}x{height}",
                    where=f"frame {number}",
                    frames_read=count,
                    hint="save its pictures in one size",
                )
            time_ms = opened.info.get("timestamp")
            time_s = float(number / ASSUMED_FRAME_RATE) if time_ms is None else time_ms / 1000
            yield Frame(number, time_s, image)


def _open(path: Path) -> Image.Image:
    from PIL import Image

    return Image.open(path)


def _images(opened: Image.Image) -> Images:
    def read(number: int) -> Samples:
        opened.seek(number)
        return samples_of(opened)

    return Images(getattr(opened, "n_frames", 1), read)


def _frame_rate(opened: Image.Image) -> Fraction | None:
    """Frames per second by how long the last picture read is shown; None if the file does not say."""
    shown_ms = opened.info.get("duration")
    return Fraction(1000, int(shown_ms)) if shown_ms else None
