"""Video files, read with decord (an extra), behind the contract of the PyAV reader.

Decord decodes in its own way: files that it is known to number wrongly or to stumble over are refused, not
read wrongly. The facts of the file come from PyAV either way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vidseg.errors import DecodeError, MissingExtraError, SourceError, VidsegError
from vidseg.pipeline.read.container_walk import find_break
from vidseg.pipeline.read.info import SourceInfo
from vidseg.pipeline.read.pyav_video import VideoFile
from vidseg.pipeline.read.reverse import piece_frames, pieces
from vidseg.pipeline.read.span import Span
from vidseg.trackers.contract import Frame

CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Where decord counts frames right; it does not in MPEG-TS or AVI with B-frames."""

USE_PYAV = "use the reader 'pyav' for it"


def open_decord_video(
    path: Path, span: Span, *, reverse: bool
) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    """As `open_video` does.

    Raises:
        MissingExtraError: decord is not installed.
        SourceError: as for PyAV, and for files that decord does not read right.
    """
    try:
        import decord
    except ImportError:
        raise MissingExtraError("decord", "decord", needed_for="the reader 'decord'") from None
    decord.logging.set_level(decord.logging.QUIET)
    video = VideoFile(path)
    what = find_break(path)
    if what is not None:
        raise SourceError(f"decord cannot read '{path.name}': {what}", hint=USE_PYAV)
    if path.suffix.lower() not in CONTAINERS:
        raise SourceError(f"decord does not count the frames of '{path.suffix}' files right", hint=USE_PYAV)
    reader = _open(path, decord)
    wanted = span.slice(len(reader), path.name)
    index = video.index() if wanted.start > 0 or reverse else None
    keyframes = list(reader.get_key_indices())
    # Decord counts keyframes in storage order: in open groups of pictures its seeks land on the wrong frame.
    can_seek = index is not None and keyframes == index.keyframes.tolist()
    del reader

    def frames_of(piece: range) -> Generator[Frame, None, None]:
        yield from _forward(_open(path, decord), piece, video.info, can_seek=can_seek)

    if not reverse:
        return video.info, frames_of(wanted)
    height, width = video.info.size_hw
    cut = pieces(wanted, piece_frames(3 * height * width), keyframes if can_seek else [])
    return video.info, _reverse(cut, frames_of)


def _open(path: Path, decord: Any) -> Any:
    try:
        reader = decord.VideoReader(str(path))
        if len(reader):
            return reader
        reason = "it counts no frames"
    except (decord.DECORDError, RuntimeError) as failure:
        reason = _reason(failure)
    raise SourceError(f"decord cannot open '{path.name}' ({reason})", hint=USE_PYAV)


def _forward(reader: Any, piece: range, info: SourceInfo, *, can_seek: bool) -> Generator[Frame, None, None]:
    number = piece.start
    try:
        if can_seek:
            reader.seek_accurate(piece.start)
        else:
            for _ in range(piece.start):
                reader.next()
        for number in piece:
            image = reader.next().asnumpy()
            time_s = float(reader.get_frame_timestamp(number)[0])
            if image.shape[:2] != info.size_hw:
                raise SourceError(
                    f"decord gives '{info.name}' as {image.shape[1]}x{image.shape[0]}, not upright",
                    hint=USE_PYAV,
                )
            yield Frame(number, time_s, np.ascontiguousarray(image))
    except (GeneratorExit, VidsegError):
        raise
    except Exception as failure:  # decord raises its own error, IndexError or StopIteration, as it comes
        raise DecodeError(
            f"'{info.name}' is damaged: {_reason(failure)}",
            where=f"frame {number}",
            frames_read=number - piece.start,
            hint="the reader 'pyav' goes on after damage",
        ) from None


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
    """The last sentence of decord's message, which is a log line with its source file in front."""
    lines = str(failure).strip().splitlines() or [type(failure).__name__]
    return lines[0].split("] ")[-1].rpartition(": ")[2][:120]
