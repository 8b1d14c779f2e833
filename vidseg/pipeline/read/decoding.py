"""Containers opened, packets decoded, pictures turned into frames: what files and streams share (PyAV)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vidseg.errors import SourceError
from vidseg.pipeline.read.orientation import Orientation

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream


def open_container(
    address: str,
    name: str,
    *,
    options: dict[str, str] | None = None,
    timeout_s: float | None = None,
) -> tuple[InputContainer, VideoStream]:
    """A container and its first video stream, ready to decode with as many threads as there are cores.

    Raises:
        SourceError: it cannot be opened, or holds no video that we can decode.
    """
    import av
    from av.stream import Disposition

    try:
        container = av.open(address, options=options, timeout=timeout_s, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as failure:
        raise _cannot_open(name, failure) from None
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        container.close()
        raise SourceError(
            f"'{name}' holds no video stream", hint="give a file with video; this one may be audio alone"
        )
    stream = streams[0]
    if stream.codec_context is None:
        container.close()
        raise SourceError(
            f"'{name}' holds video that no installed decoder can read",
            hint="convert it to H.264, for example with: ffmpeg -i INPUT -c:v libx264 output.mp4",
        )
    stream.thread_type = "AUTO"
    return container, stream


def _cannot_open(name: str, failure: Exception) -> SourceError:
    reason = (getattr(failure, "strerror", None) or str(failure)).strip().rstrip(".")
    return SourceError(
        f"'{name}' cannot be opened as a video ({reason[:1].lower()}{reason[1:]})",
        hint="check that it is a whole video file (an mp4 that was cut short has often lost its index)",
    )


class Decoder:
    """Decodes a stream from where its container stands. Goes on after damage, and remembers the first."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self.frames_decoded = 0
        self.damage: str | None = None

    def frames(self) -> Iterator[VideoFrame]:
        """Pictures in presentation order, which is the order in which a decoder puts them out."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as failure:
                self._note(f"{failure.strerror or failure}", None)
                return
            if packet.is_corrupt:
                self._note("incomplete data", packet)
            try:
                pictures = packet.decode()
            except av.error.EOFError:
                return
            except av.FFmpegError as failure:
                self._note(f"{failure.strerror}", packet)
                continue
            for picture in pictures:
                if picture.is_corrupt:
                    self._note("damaged picture", picture)
                self.frames_decoded += 1
                yield picture

    def _note(self, what: str, at: Packet[VideoStream] | VideoFrame | None) -> None:
        if self.damage is not None:
            return
        place = f"frame {self.frames_decoded}"
        if at is not None and at.pts is not None and at.time_base:
            place += f", {float(at.pts * at.time_base):.3f} s"
        self.damage = f"{what[:1].lower()}{what[1:]} near {place}"


class ToRgb:
    """Turns decoded pictures into uint8 H x W x 3 arrays as shown.

    One scaler is kept for the whole video: making one per frame costs time and, in some versions, memory.
    Colour matrix and range follow the picture's own tags (BT.601, limited range, where it has none).
    """

    def __init__(self, orientation: Orientation) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()
        self._orientation = orientation

    def __call__(self, picture: VideoFrame) -> npt.NDArray[np.uint8]:
        rgb: npt.NDArray[np.uint8] = self._scaler.reformat(picture, format="rgb24").to_ndarray()  # type: ignore[assignment]
        return self._orientation.apply(rgb)


def orientation_of(picture: VideoFrame) -> Orientation:
    from av.sidedata.sidedata import Type

    matrix = picture.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    return Orientation() if matrix is None else Orientation.from_display_matrix(bytes(matrix))


class Clock:
    """Presentation times in seconds; a picture without one follows the one before by its duration."""

    def __init__(self, frame_rate: Fraction | None) -> None:
        self._step_s = float(1 / (frame_rate or Fraction(25)))
        self._next_s = 0.0

    def time_of(self, picture: VideoFrame) -> float:
        base = picture.time_base
        time_s = self._next_s if picture.pts is None or base is None else float(picture.pts * base)
        self._next_s = time_s + (
            float(picture.duration * base) if picture.duration and base else self._step_s
        )
        return time_s
