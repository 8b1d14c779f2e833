"""Video files, read with PyAV."""

from __future__ import annotations

from collections.abc import Generator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.errors import DecodeError, SourceError
from vidseg.pipeline.read.decoding import Clock, Decoder, ToRgb, open_container, orientation_of
from vidseg.pipeline.read.info import SourceInfo
from vidseg.pipeline.read.span import Span, beyond_the_end
from vidseg.trackers.contract import Frame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


def open_video(path: Path, span: Span, *, reverse: bool) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    """The facts of a video file, and a generator of its frames. The first picture is decoded here.

    Raises:
        SourceError: it cannot be opened, holds no video, or no picture of it can be decoded.
    """
    container, stream = open_container(f"file:{path}", path.name)
    decoder = Decoder(container, stream)
    pictures = decoder.frames()
    first = next(pictures, None)
    if first is None:
        container.close()
        raise SourceError(
            f"'{path.name}' holds no frame that can be decoded"
            + (f" ({decoder.damage})" if decoder.damage else ""),
            hint="check that the file is whole",
        )
    orientation = orientation_of(first)
    turned = orientation.rotation_deg in (90, 270)
    info = SourceInfo(
        kind="video",
        name=path.name,
        path=path,
        size_hw=(first.width, first.height) if turned else (first.height, first.width),
        frame_rate=stream.average_rate or stream.guessed_rate or None,
        num_frames_from_header=stream.frames or None,
        duration_s=_duration_s(container, stream),
        codec=stream.codec_context.codec.name,
        rotation_deg=orientation.rotation_deg,
    )
    if reverse:
        raise SourceError("reading in reverse is not ready yet")

    def frames() -> Generator[Frame, None, None]:
        to_rgb, clock, read = ToRgb(orientation), Clock(info.frame_rate), 0
        with container:
            for index, picture in enumerate(chain([first], pictures)):
                time_s = clock.time_of(picture)
                if index < span.start:
                    continue
                if index == span.end:
                    return
                read += 1
                yield Frame(index, time_s, to_rgb(picture))
            if decoder.damage is not None:
                raise DecodeError(
                    f"'{path.name}' is damaged: {decoder.damage}",
                    frames_read=read,
                    hint="what was read is kept; get a whole copy of the file for the rest",
                )
            if read == 0:
                raise beyond_the_end(path.name, span.start, decoder.frames_decoded)

    return info, frames()


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1_000_000
