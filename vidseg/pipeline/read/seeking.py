"""Positions a container at an exact keyframe."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from vidseg.pipeline.read.packet_index import Keyframe

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream

BACK_OFFS_S = (0, 1, 10)
"""How many seconds before a keyframe to seek to, in turn: containers without an index only land near the
wanted time."""


def packets_from(
    container: InputContainer, stream: VideoStream, keyframe: Keyframe
) -> Iterator[Packet[VideoStream]] | None:
    """The packets of a stream from `keyframe` on; None if the container cannot be positioned there.

    Containers differ in what a seek means, so each attempt is checked: packets are skipped until the keyframe
    itself comes.
    """
    import av

    time = min(keyframe.dts, keyframe.pts)
    for back_off_s in BACK_OFFS_S:
        offset = 0 if stream.time_base is None else int(back_off_s / stream.time_base)
        try:
            container.seek(time - offset, stream=stream)
        except (av.FFmpegError, OSError):
            return None
        packets = _from_keyframe(container.demux(stream), keyframe)
        if packets is not None:
            return packets
    return None


def packets_from_start(
    container: InputContainer, stream: VideoStream, keyframe: Keyframe
) -> Iterator[Packet[VideoStream]]:
    """The same packets, found without seeking by skipping all before; needs a newly opened container."""
    return _from_keyframe(container.demux(stream), keyframe, may_overshoot=False) or iter(())


def _from_keyframe(
    packets: Iterator[Packet[VideoStream]], keyframe: Keyframe, *, may_overshoot: bool = True
) -> Iterator[Packet[VideoStream]] | None:
    import av

    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError, IndexError):
            return None
        if packet is None or packet.size == 0:
            return None
        if packet.pts == keyframe.pts and packet.is_keyframe:
            return chain([packet], packets)
        if may_overshoot and packet.dts is not None and packet.dts > keyframe.dts:
            return None
