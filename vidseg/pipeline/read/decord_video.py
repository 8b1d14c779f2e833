"""Reads video files with decord (an extra), behind the contract of the PyAV reader.

Files that decord is known to number wrongly or to fail on are refused. Facts about the file always come from
PyAV.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.errors import DecodeError, MissingExtraError, SourceError, VidsegError
from vidseg.pipeline.read.container_walk import find_break
from vidseg.pipeline.read.frame_range import FrameRange
from vidseg.pipeline.read.info import SourceInfo
from vidseg.pipeline.read.orientation import Orientation
from vidseg.pipeline.read.pictures import PICTURE_FILE_CODECS
from vidseg.pipeline.read.pyav_video import VideoFile
from vidseg.pipeline.read.reverse import piece_frames, pieces
from vidseg.trackers.contract import Frame

CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Containers in which decord counts frames correctly; it does not in MPEG-TS or AVI with B-frames."""

HELD_FRAMES = 16
"""How many resized frames are held for reading in reverse."""

USE_PYAV = "use the reader 'pyav' for it"


def open_decord_video(
    path: Path, span: FrameRange, *, reverse: bool, keep_decoded: bool = True
) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    """Like `open_video`, with decord.

    Raises:
        MissingExtraError: decord is not installed.
        SourceError: see `open_video`; also for files that decord does not read correctly.
    """
    try:
        import decord
    except ImportError:
        raise MissingExtraError("decord", "decord", needed_for="the reader 'decord'") from None
    decord.logging.set_level(decord.logging.QUIET)
    video = VideoFile(path, keep_decoded=False)
    what = find_break(path)
    if what is not None:
        raise SourceError(f"decord cannot read '{path.name}': {what}", hint=USE_PYAV)
    if path.suffix.lower() not in CONTAINERS:
        raise SourceError(f"decord does not count the frames of '{path.suffix}' files right", hint=USE_PYAV)
    if video.orientation != Orientation() and video.info.codec in PICTURE_FILE_CODECS:
        raise SourceError(f"decord does not turn '{path.name}' as its EXIF data says", hint=USE_PYAV)
    reader = _open(path, decord)
    wanted = span.slice(len(reader), path.name)
    index = video.index() if wanted.start > 0 or reverse else None
    keyframes = list(reader.get_key_indices())
    # Decord counts keyframes in storage order: in open groups of pictures its seeks land on the wrong frame.
    can_seek = index is not None and keyframes == index.keyframes.tolist()
    del reader
    resizing = _Resizing(path, decord, can_seek=can_seek) if keep_decoded else None

    def frames_of(piece: range) -> Generator[Frame, None, None]:
        yield from _forward(_open(path, decord), piece, video.info, resizing, can_seek=can_seek)

    if not reverse:
        return video.info, frames_of(wanted)
    height, width = video.info.size_hw
    cut = pieces(wanted, piece_frames(3 * height * width), keyframes if can_seek else [])
    return video.info, _reverse(cut, frames_of)


def _open(path: Path, decord: Any, side: int = -1) -> Any:
    try:
        reader = decord.VideoReader(os.fsencode(path).decode(), width=side, height=side)
        if len(reader):
            return reader
        reason = "it counts no frames"
    except UnicodeDecodeError:
        reason = "its name is not UTF-8"
    except (decord.DECORDError, RuntimeError) as failure:
        reason = _reason(failure)
    raise SourceError(f"decord cannot open '{path.name}' ({reason})", hint=USE_PYAV)


def _forward(
    reader: Any, piece: range, info: SourceInfo, resizing: _Resizing | None, *, can_seek: bool
) -> Generator[Frame, None, None]:
    number = piece.start
    try:
        _pass_over(reader, piece.start, can_seek=can_seek)
        for number in piece:
            image = _next_picture(reader)
            time_s = float(reader.get_frame_timestamp(number)[0])
            if image.shape[:2] != info.size_hw:
                raise SourceError(
                    f"decord gives '{info.name}' as {image.shape[1]}x{image.shape[0]}, not upright",
                    hint=USE_PYAV,
                )
            decoded = _Picture(image, number, resizing) if resizing else None
            yield Frame(number, time_s, image, decoded=decoded)
    except (GeneratorExit, VidsegError):
        raise
    except Exception as failure:  # decord may raise its own error, IndexError or StopIteration
        raise DecodeError(
            f"'{info.name}' is damaged: {_reason(failure)}",
            where=f"frame {number}",
            frames_read=number - piece.start,
            hint="the reader 'pyav' goes on after damage",
        ) from None


def _pass_over(reader: Any, count: int, *, can_seek: bool) -> None:
    """Move a new reader to just before frame `count`."""
    if can_seek:
        reader.seek_accurate(count)
    else:
        for _ in range(count):
            reader.next()


def _next_picture(reader: Any) -> npt.NDArray[np.uint8]:
    # Convert it: a program may have told decord to return arrays of another library.
    picture = reader.next()
    return np.ascontiguousarray(picture.asnumpy() if hasattr(picture, "asnumpy") else picture)


class _Resizing:
    """Resizes the frames of a file with a decoder of its own, as decord resizes only while it decodes."""

    def __init__(self, path: Path, decord: Any, *, can_seek: bool) -> None:
        self._path = path
        self._decord = decord
        self._can_seek = can_seek
        self._lock = threading.Lock()
        self._reader: Any = None
        self._side = 0
        self._next = 0
        self._held: dict[int, npt.NDArray[np.uint8]] = {}
        """Frames before the last one that was asked for, in case they are asked for in falling order."""

    def resize(self, number: int, side: int) -> npt.NDArray[np.uint8]:
        with self._lock:
            if side != self._side:
                self._reader, self._side, self._held = None, side, {}
            if number not in self._held:
                self._decode(number, max(0, number - HELD_FRAMES + 1) if number < self._next else number)
            return self._held.pop(number)

    def _decode(self, number: int, first: int) -> None:
        """Decode and hold the frames from `first` to `number`."""
        try:
            if self._reader is None or first < self._next:
                self._reader = _open(self._path, self._decord, self._side)
                _pass_over(self._reader, first, can_seek=self._can_seek)
            else:
                _pass_over(self._reader, first - self._next, can_seek=False)
            self._held = {k: _next_picture(self._reader) for k in range(first, number + 1)}
            self._next = number + 1
        except VidsegError:
            raise
        except Exception as failure:  # decord may raise anything, as above
            raise DecodeError(
                f"'{self._path.name}' is damaged: {_reason(failure)}",
                where=f"frame {number}",
                frames_read=number,
                hint=USE_PYAV,
            ) from None


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """A frame of decord; see `vidseg.trackers.contract.DecodedPicture`."""

    image: npt.NDArray[np.uint8]
    number: int
    resizing: _Resizing

    def resized(self, side: int) -> npt.NDArray[np.uint8]:
        return self.resizing.resize(self.number, side)


def _reverse(
    cut: Iterator[range], frames_of: Callable[[range], Generator[Frame, None, None]]
) -> Generator[Frame, None, None]:
    read = 0
    for piece in cut:
        try:
            held = list(frames_of(piece))
        except DecodeError as error:
            error.frames_read = read
            raise
        while held:
            read += 1
            yield held.pop()


def _reason(failure: Exception) -> str:
    """The last sentence of decord's message, a log line that begins with the name of a source file."""
    lines = str(failure).strip().splitlines() or [type(failure).__name__]
    return lines[0].split("] ")[-1].rpartition(": ")[2][:120]
