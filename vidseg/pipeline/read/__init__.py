"""Reading frames, one at a time, from files, folders, cameras, streams and arrays."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from vidseg.errors import InputError, SourceError
from vidseg.pipeline.read.info import SourceInfo, SourceKind
from vidseg.pipeline.read.source import Source
from vidseg.pipeline.read.span import Span

__all__ = ["Source", "SourceInfo", "SourceKind", "read"]


def read(
    source: str | PathLike[str] | int | Iterable[Any],
    *,
    start: int | None = None,
    end: int | None = None,
    reverse: bool = False,
    reader: Literal["pyav", "decord"] = "pyav",
    queue_frames: int = 8,
    on_behind: Literal["wait", "drop"] | None = None,
) -> Source:
    """Open a source and read its frames, in order, in bounded memory.

    Args:
        source: a video file, a folder of images, a camera number, a stream address (rtsp://, udp://, http://
            ...), or an iterable of uint8 H x W x 3 RGB arrays or of `Frame`s.
        start: the first frame wanted, by decode order from 0. Frames keep their number in the whole source.
        end: the frame to stop before; past the last one means to the last one.
        reverse: read from the last wanted frame to the first, in pieces of one group of pictures.
        reader: what decodes video files: 'pyav', or 'decord' (an extra).
        queue_frames: how many frames may be decoded ahead.
        on_behind: what a live source does when the consumer is slower than it: 'drop' throws the oldest
            waiting frames away (the default for live sources), 'wait' reads on only when there is room.

    Returns:
        A `Source`: iterate over it once for `Frame`s with uint8 RGB images as shown (rotation applied).

    Raises:
        SourceError: the source is missing, is no video, holds no frames, or does not reach `start`. Some
            sources say so only when the first frame is asked for.
        DecodeError: while iterating: the source broke. All frames that could be decoded came before it.
        MissingExtraError: `reader` is not installed.
    """
    span = Span.of(start, end)
    if queue_frames < 1:
        raise InputError(f"queue_frames is {queue_frames}", hint="give at least 1")
    if isinstance(source, (str, PathLike)):
        path = Path(source)
        if path.is_dir():
            from vidseg.pipeline.read.folder import open_folder

            info, frames = open_folder(path, span, reverse=reverse)
        elif path.is_file():
            from vidseg.pipeline.read.pyav_video import open_video

            info, frames = open_video(path, span, reverse=reverse)
        else:
            raise SourceError(
                f"'{source}' does not exist", hint="give a video, a folder of images or an address"
            )
        return Source(info, frames, queue_frames=queue_frames)
    from vidseg.pipeline.read.arrays import open_arrays

    if isinstance(source, int):
        raise SourceError("cameras are not ready yet")
    info, frames = open_arrays(source, span, reverse=reverse)
    return Source(info, frames, queue_frames=None)
