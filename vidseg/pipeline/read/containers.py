"""Opens containers with PyAV, and says what is wrong with those that do not open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from vidseg.errors import SourceError, told
from vidseg.pipeline.addresses import without_secrets

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream


def open_container(
    address: str,
    name: str,
    *,
    options: dict[str, str] | None = None,
    timeout_s: float | None = None,
    threading: Literal["AUTO", "SLICE", "NONE"] = "AUTO",
) -> tuple[InputContainer, VideoStream]:
    """A container and its first video stream that is not a cover picture, ready to decode.

    Args:
        address: what FFmpeg opens: `file:...` or the address of a stream.
        name: name of the source in messages.
        timeout_s: longest wait for the network, in opening and in each read.
        threading: AUTO decodes on all cores; SLICE only within a picture, so that no picture is held back.

    Raises:
        SourceError: it cannot be opened, or holds no video that can be decoded.
    """
    import av
    from av.stream import Disposition

    try:
        container = av.open(address, "r", options=options, timeout=timeout_s, metadata_errors="replace")
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
            hint="convert it, for example with: ffmpeg -i INPUT -c:v libx264 output.mp4",
        )
    stream.thread_type = threading
    if threading == "NONE":
        stream.thread_count = 1
    return container, stream


def draining_packet(stream: VideoStream) -> Packet[VideoStream]:
    """The packet that makes a decoder return pictures it holds back, in streams that ended in an error."""
    import av

    packet = cast("Packet[VideoStream]", av.Packet())
    packet.stream = stream
    if stream.time_base is not None:
        packet.time_base = stream.time_base
    return packet


def _cannot_open(name: str, failure: Exception) -> SourceError:
    reason = without_secrets(told(failure)).rstrip(".")
    if "://" in name:
        hint = "check the address, and that the sender is running"
    else:
        hint = "check that it is a whole video file (an mp4 that was cut short has often lost its index)"
    return SourceError(f"'{name}' cannot be opened as a video ({reason[:1].lower()}{reason[1:]})", hint=hint)
