"""An index of the frames of a video file, made in one pass over its packets, without decoding."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

ONE_PICTURE_PER_PACKET = (
    "h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "prores", "dnxhd", "ffv1",
    "huffyuv", "rawvideo", "vvc",
)  # fmt: skip
"""Codecs in which each packet is a frame; in others (VP8) some packets show nothing."""


class Keyframe(NamedTuple):
    """A packet from which decoding can start."""

    number: int
    """The frame's number in presentation order."""
    pts: int
    dts: int


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Numbers and times of all frames: eight bytes for each, and sixteen more for a keyframe."""

    pts: array[int]
    """Rising presentation times, in the stream's time base; a time's place is the number of its frame."""
    keyframes: array[int]
    """Numbers of the keyframes, rising from 0."""
    keyframes_dts: array[int]
    """Decode times of the keyframes, by which containers seek."""

    def __len__(self) -> int:
        return len(self.pts)

    def number_of(self, pts: int | None) -> int | None:
        """The number of the frame shown at `pts`; None if there is none."""
        if pts is None:
            return None
        number = bisect_left(self.pts, pts)
        return number if number < len(self.pts) and self.pts[number] == pts else None

    def keyframe_for(self, number: int) -> Keyframe:
        """The last keyframe at or before a frame.

        Frames shown after a keyframe need nothing from before it, in open groups of pictures too: those
        that do are shown before it.
        """
        place = bisect_right(self.keyframes, number) - 1
        keyframe = self.keyframes[place]
        return Keyframe(keyframe, self.pts[keyframe], self.keyframes_dts[place])


def index_packets(
    container: InputContainer, stream: VideoStream, first_pts: Sequence[int | None]
) -> PacketIndex | None:
    """Read all packets of a freshly opened container.

    Args:
        first_pts: the times of the first pictures, in the order in which a decoder put them out.

    Returns:
        None when the packets cannot tell the order of the pictures: times are missing, double or meaningless
        (raw streams, AVI with B-frames), run back (joined streams), or do not agree with the first pictures.
    """
    import av

    if stream.codec_context.codec.canonical_name not in ONE_PICTURE_PER_PACKET or first_pts[0] is None:
        return None
    pts = array("q")
    keys_pts, keys_dts = array("q"), array("q")
    last_dts: int | None = None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError, IndexError):
            break  # the file ends early, but the rest can be indexed
        if packet is None:
            break
        if packet.size == 0 or packet.is_discard:
            continue
        runs_back = packet.dts is not None and last_dts is not None and packet.dts < last_dts
        if packet.pts is None or (runs_back and packet.is_keyframe):
            return None
        last_dts = packet.dts if packet.dts is not None else last_dts
        if packet.pts < first_pts[0]:
            continue  # earlier pictures cannot be decoded, so are never shown
        pts.append(packet.pts)
        if packet.is_keyframe:
            keys_pts.append(packet.pts)
            keys_dts.append(packet.pts if packet.dts is None else packet.dts)
    pts = array("q", sorted(pts))
    agrees = list(pts[: len(first_pts)]) == list(first_pts)
    if not agrees or any(a == b for a, b in pairwise(pts)):
        return None
    by_pts = sorted(range(len(keys_pts)), key=keys_pts.__getitem__)
    keyframes = array("q", (bisect_left(pts, keys_pts[k]) for k in by_pts))
    if not keyframes or keyframes[0] != 0:
        return None
    return PacketIndex(pts, keyframes, array("q", (keys_dts[k] for k in by_pts)))
