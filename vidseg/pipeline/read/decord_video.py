"""Video files, read with decord (an extra), behind the contract of the PyAV reader.

Decord decodes in its own way: files that it is known to number wrongly or to stumble over are refused, not
read wrongly. The facts of the file come from PyAV either way.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from vidseg.errors import DecodeError, MissingExtraError, SourceError
from vidseg.pipeline.read.container_walk import find_break
from vidseg.pipeline.read.info import SourceInfo
from vidseg.pipeline.read.pyav_video import open_video
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
    info, by_pyav = open_video(path, Span(), reverse=False)
    by_pyav.close()
    what = find_break(path)
    if what is not None:
        raise SourceError(f"decord cannot read '{path.name}': {what}", hint=USE_PYAV)
    if path.suffix.lower() not in CONTAINERS:
        raise SourceError(f"decord does not count the frames of '{path.suffix}' files right", hint=USE_PYAV)
    try:
        reader = decord.VideoReader(str(path))
        num_frames = len(reader)
    except (decord.DECORDError, RuntimeError) as failure:
        raise SourceError(f"decord cannot open '{path.name}' ({_reason(failure)})", hint=USE_PYAV) from None
    wanted = span.slice(num_frames, path.name)
    return info, _frames(reader, wanted, info, reverse=reverse)


def _frames(reader: Any, wanted: range, info: SourceInfo, *, reverse: bool) -> Generator[Frame, None, None]:
    read = 0
    if reverse:
        height, width = info.size_hw
        cut = pieces(wanted, piece_frames(3 * height * width), reader.get_key_indices())
    else:
        cut = iter([wanted])
    for piece in cut:
        held = []
        for number in piece:
            frame = _frame(reader, number, info, read + len(held))
            if reverse:
                held.append(frame)
            else:
                read += 1
                yield frame
        while held:
            read += 1
            yield held.pop()


def _frame(reader: Any, number: int, info: SourceInfo, read: int) -> Frame:
    try:
        image = reader[number].asnumpy()
        time_s = float(reader.get_frame_timestamp(number)[0])
    except Exception as failure:  # decord raises its own error, IndexError or RuntimeError, as it comes
        raise DecodeError(
            f"'{info.name}' is damaged: {_reason(failure)}",
            where=f"frame {number}",
            frames_read=read,
            hint="the reader 'pyav' goes on after damage",
        ) from None
    if image.shape[:2] != info.size_hw:
        raise SourceError(
            f"decord gives '{info.name}' as {image.shape[1]}x{image.shape[0]}, not upright", hint=USE_PYAV
        )
    return Frame(number, time_s, np.ascontiguousarray(image))


def _reason(failure: Exception) -> str:
    """The last sentence of decord's message, which is a log line with its source file in front."""
    return str(failure).strip().splitlines()[0].split("] ")[-1].rpartition(": ")[2][:120]
