"""Reads stream addresses: rtsp://, udp://, http:// and whatever else FFmpeg opens."""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterator
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vidseg.errors import DecodeError, SourceError
from vidseg.pipeline.addresses import shown
from vidseg.pipeline.read.containers import draining_packet, open_container
from vidseg.pipeline.read.frame_range import FrameRange
from vidseg.pipeline.read.info import SourceInfo
from vidseg.pipeline.read.pictures import Clock, ToRgb, orientation_of
from vidseg.pipeline.read.resizing import Resizing
from vidseg.trackers.contract import Frame

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

SILENCE_S = 10.0
"""A stream that sends nothing for this many seconds has ended."""

CONNECTIONLESS = ("udp", "rtp")
"""With these protocols silence is the only sign of the end; with others it is a fault."""

OPTIONS = {
    "analyzeduration": "2000000",  # microseconds; FFmpeg's own 5 s keep a live viewer waiting
    "overrun_nonfatal": "1",  # udp: packets that nobody fetched in time are lost, and reading goes on
    "rtsp_flags": "prefer_tcp",
}


def open_stream(
    address: str, span: FrameRange, *, keep_decoded: bool = True
) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    """The facts of a stream, and a generator of its frames; waits for the first picture.

    Frames are counted from the first one that could be decoded here. Damage is skipped: streams are usually
    joined in the middle, and often lose packets.

    Raises:
        SourceError: nothing answers at the address, or no picture comes.
    """
    # Frame threads would hold back one picture for each core, but live pictures are wanted at once.
    name = shown(address)
    container, stream = open_container(address, name, options=OPTIONS, timeout_s=SILENCE_S, threading="SLICE")
    pictures = _pictures(container, stream, name)
    try:
        first = next(pictures, None)
    except DecodeError as failure:
        raise SourceError(failure.message, hint="check that the sender is running") from None
    if first is None:
        container.close()
        raise SourceError(f"'{name}' sent no picture", hint="check that the sender is running")
    orientation = orientation_of(first)
    stored_hw = (first.height, first.width)
    info = SourceInfo(
        kind="stream",
        name=name,
        size_hw=stored_hw[::-1] if orientation.rotation_deg in (90, 270) else stored_hw,
        frame_rate=stream.average_rate or stream.guessed_rate or None,
        codec=stream.codec_context.codec.canonical_name,
        rotation_deg=orientation.rotation_deg,
        is_live=container.duration is None,
        can_seek=False,
    )
    resizing = Resizing(orientation) if keep_decoded else None
    return info, _frames(container, chain([first], pictures), span, info, ToRgb(orientation), resizing)


def _pictures(container: InputContainer, stream: VideoStream, name: str) -> Generator[VideoFrame, None, None]:
    import av

    count = 0
    packets = container.demux(stream)
    end: Exception | None = None
    while end is None:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError, IndexError) as failure:
            end, packet = failure, draining_packet(stream)
        if packet is None:
            return
        try:
            pictures = packet.decode()
        except av.error.EOFError:
            pictures = []
        except av.FFmpegError:
            continue
        for picture in pictures:
            count += 1
            yield picture
    if count > 0 and _ends_so(end, container, urlsplit(name).scheme):
        return
    silent = isinstance(end, av.error.ExitError)
    reason = f"fell silent for {SILENCE_S:g} s" if silent else f"broke off ({getattr(end, 'strerror', end)})"
    where = f"after frame {count - 1}" if count else None
    raise DecodeError(f"'{name}' {reason}", where=where, frames_read=count)


def _ends_so(failure: Exception, container: InputContainer, scheme: str) -> bool:
    """Whether what FFmpeg calls a failure is how a stream of this kind ends."""
    import av

    if isinstance(failure, av.error.ExitError):
        return scheme in CONNECTIONLESS
    # A server that announces no length ends a stream by closing it; one that does has broken off.
    is_io_error = getattr(failure, "errno", None) == errno.EIO
    return scheme in ("http", "https") and is_io_error and container.size < 0


def _frames(
    container: InputContainer,
    pictures: Iterator[VideoFrame],
    span: FrameRange,
    info: SourceInfo,
    to_rgb: ToRgb,
    resizing: Resizing | None,
) -> Generator[Frame, None, None]:
    clock = Clock(info.frame_rate)
    read = 0
    with container:
        for number, picture in enumerate(pictures):
            time_s = clock.time_of(picture)
            if span.end is not None and number >= span.end:
                return
            if number < span.start:
                continue
            try:
                image = to_rgb(picture)
            except DecodeError as failure:
                failure.frames_read = read
                raise failure.at(f"'{info.name}', frame {number}, {time_s:.3f} s") from None
            if image.shape[:2] != info.size_hw:
                raise DecodeError(
                    f"'{info.name}' changes its size to {image.shape[1]}x{image.shape[0]}",
                    where=f"frame {number}, {time_s:.3f} s",
                    frames_read=read,
                    hint="start again from here",
                )
            read += 1
            decoded = resizing.keep(picture, image) if resizing else None
            yield Frame(number, time_s, image, decoded=decoded)
        if read == 0:
            raise SourceError(
                f"'{info.name}' ended before start frame {span.start}", hint="give a lower start"
            )
