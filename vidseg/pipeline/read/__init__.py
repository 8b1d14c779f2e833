"""Reads frames, one at a time, from files, folders, cameras, streams and arrays."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from vidseg.errors import InputError, SourceError, told, unknown
from vidseg.pipeline.addresses import is_address, shown
from vidseg.pipeline.read.frame_range import FrameRange
from vidseg.pipeline.read.info import SourceInfo, SourceKind
from vidseg.pipeline.read.source import Noted, Source
from vidseg.trackers.contract import Frame

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
    keep_decoded: bool = True,
) -> Source:
    """Open a source and read its frames, in order, in bounded memory.

    Args:
        source: a video file, a folder of images, a camera number, a stream address (rtsp://, udp://, http://
            ...), or an iterable of uint8 H x W x 3 RGB arrays or of `Frame`s.
        start: the first frame wanted, by decode order from 0. Frames keep their number in the whole source.
        end: the frame to stop before; past the last one means to the last one.
        reverse: read from the last wanted frame to the first, in pieces of one group of pictures.
        reader: the library that decodes video files: 'pyav', or 'decord' (an extra).
        queue_frames: how many frames may be decoded ahead.
        on_behind: what a live source does when the consumer is slower than it: 'drop' throws the oldest
            waiting frames away (the default for live sources), 'wait' reads on only when there is room.
        keep_decoded: frames of videos and streams also hold the picture as it was decoded, from which the
            SAM 2 family has it resized as SAM 2's own loader does. False saves its memory: as most videos
            are stored, half of the image's.

    Returns:
        A `Source`: iterate over it once for `Frame`s with uint8 RGB images as shown (rotation applied). Its
        `remarks` then say what was odd but no damage.

    Raises:
        SourceError: the source is missing, is no video, holds no frames, or does not reach `start`. Some
            sources say so only when the first frame is asked for.
        DecodeError: while iterating: the source broke. All frames that could be decoded came before it.
        MissingExtraError: `reader` is not installed.
    """
    span = FrameRange.of(start, end)
    if queue_frames < 1:
        raise InputError(f"queue_frames is {queue_frames}", hint="give at least 1")
    if reader not in ("pyav", "decord"):
        raise InputError(unknown("reader", reader, ("pyav", "decord")))
    if on_behind not in (None, "wait", "drop"):
        raise InputError(unknown("on_behind", on_behind, ("wait", "drop")))
    noted = Noted()
    try:
        info, frames = _open(source, span, noted, reverse=reverse, reader=reader, keep_decoded=keep_decoded)
    except OSError as failure:  # such as no permission, or a broken disk
        raise SourceError(f"'{shown(str(source))}' cannot be read ({told(failure)})") from failure
    if on_behind == "drop" and info.kind not in ("camera", "stream"):
        frames.close()
        raise InputError(f"'{info.name}' does not run ahead", hint="on_behind='drop' is for live sources")
    drop = info.is_live if on_behind is None else on_behind == "drop"
    # The caller's iterable must run in the caller's thread, so arrays are not read ahead.
    return Source(info, frames, noted, queue_frames=None if info.kind == "array" else queue_frames, drop=drop)


def _open(
    source: str | PathLike[str] | int | Iterable[Any],
    span: FrameRange,
    noted: Noted,
    *,
    reverse: bool,
    reader: str,
    keep_decoded: bool,
) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    if isinstance(source, (str, PathLike)):
        text = str(source)
        path = Path(source)
        if isinstance(source, str) and is_address(text):
            _refuse_reverse(shown(text), reverse)
            from vidseg.pipeline.read.stream import open_stream

            return open_stream(text, span, keep_decoded=keep_decoded)
        if text.startswith("file://"):
            path = Path(unquote(urlsplit(text).path))
        if text and path.is_dir():
            from vidseg.pipeline.read.folder import open_folder

            return open_folder(path, span, reverse=reverse)
        if path.is_file():
            from vidseg.pipeline.read.picture_file import is_picture_file, open_picture_file

            if is_picture_file(path):
                return open_picture_file(path, span, reverse=reverse)
            if reader == "decord":
                from vidseg.pipeline.read.decord_video import open_decord_video

                return open_decord_video(path, span, reverse=reverse, keep_decoded=keep_decoded)
            from vidseg.pipeline.read.pyav_video import open_video

            return open_video(path, span, noted, reverse=reverse, keep_decoded=keep_decoded)
        if not text.isdecimal():
            what = "is neither a file nor a folder" if text and path.exists() else "does not exist"
            raise SourceError(
                f"'{source}' {what}", hint="give a video, a folder of images, a camera number or an address"
            )
        source = int(text)
    if isinstance(source, int):
        _refuse_reverse(f"camera {source}", reverse)
        from vidseg.pipeline.read.camera import open_camera

        return open_camera(source, span)
    from vidseg.pipeline.read.arrays import open_arrays

    return open_arrays(source, span, reverse=reverse)


def _refuse_reverse(name: str, reverse: bool) -> None:
    if reverse:
        raise SourceError(f"'{name}' cannot be read in reverse", hint="record it to a file first")
