"""Two ways to find a picture's frame number: an index of the packets, or counting from the first one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from vidseg.errors import VidsegError
from vidseg.pipeline.read.containers import open_container
from vidseg.pipeline.read.decoding import Damage, Decoder
from vidseg.pipeline.read.packet_index import PacketIndex
from vidseg.pipeline.read.pictures import Clock, time_of
from vidseg.pipeline.read.seeking import packets_from, packets_from_start
from vidseg.pipeline.read.transport import find_joint

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream


class Numbered(NamedTuple):
    """A decoded picture with the number of its frame."""

    number: int
    time_s: float
    picture: VideoFrame


class Numbering(Protocol):
    """A way to find the numbers of pictures."""

    damage: Damage | None
    """The first damage found so far."""
    joined_at: int | None
    """See `Decoder.joined_at`."""

    def pictures(self, start: int) -> Generator[Numbered, None, None]:
        """Decode from frame `start` to the end of the file."""


class ByCounting:
    """Decodes from the first frame on, whatever the start: always correct, and slow for a late start."""

    def __init__(self, path: Path, frame_rate: Fraction | None) -> None:
        self._path = path
        self._frame_rate = frame_rate
        self.damage: Damage | None = None
        self.joined_at: int | None = None
        self.frames_counted = 0
        """How many frames the last pass decoded."""

    def pictures(self, start: int) -> Generator[Numbered, None, None]:
        decoder = Decoder(self._begin, find_joint=partial(find_joint, self._path))
        clock = Clock(self._frame_rate)
        for number, picture in enumerate(decoder.frames()):
            self.frames_counted = number + 1
            self.damage = self.damage or decoder.damage
            time_s = clock.time_of(picture)
            if number >= start:
                yield Numbered(number, time_s, picture)
        self.damage = self.damage or decoder.damage
        self.joined_at = decoder.joined_at

    def _begin(self, threaded: bool) -> tuple[InputContainer, VideoStream, Iterator[Packet[VideoStream]]]:
        container, stream = open_container(
            f"file:{self._path}", self._path.name, threading="AUTO" if threaded else "NONE"
        )
        return container, stream, container.demux(stream)


class IndexDisagreesError(VidsegError):
    """The pictures of the decoder are not those in the index; frames must be counted instead."""


HURRIED_CODECS = ("h264",)
"""Codecs in which pictures that FFmpeg calls non-reference are needed by no other one at all. In HEVC some of
them are."""


class ByIndex:
    """Decodes from the keyframe before the start; the time of a picture tells its frame.

    Args:
        hurries: whether to leave out pictures before the start that no other one needs; damage among the
            others is not noticed then.
    """

    def __init__(self, path: Path, index: PacketIndex, *, hurries: bool = False) -> None:
        self._path = path
        self._index = index
        self._hurries = hurries
        self._is_trusted = False
        self.damage: Damage | None = None
        self.joined_at: int | None = None

    def pictures(self, start: int) -> Generator[Numbered, None, None]:
        """Decode from frame `start` to the end of the file.

        Raises:
            IndexDisagreesError: only before the first picture is returned.
        """
        keyframe = self._index.keyframe_for(start)

        def begin(threaded: bool) -> tuple[InputContainer, VideoStream, Iterator[Packet[VideoStream]]]:
            container, stream = open_container(
                f"file:{self._path}", self._path.name, threading="AUTO" if threaded else "NONE"
            )
            packets = None if keyframe.number == 0 else packets_from(container, stream, keyframe)
            if packets is None:
                container.close()
                container, stream = open_container(
                    f"file:{self._path}", self._path.name, threading="AUTO" if threaded else "NONE"
                )
                packets = packets_from_start(container, stream, keyframe)
            if self._hurries:
                packets = _hurried(stream, packets, self._index.pts[start])
            return container, stream, packets

        decoder = Decoder(
            begin,
            first_number=keyframe.number,
            from_pts=keyframe.pts,
            find_joint=partial(find_joint, self._path),
        )
        expected = keyframe.number
        for picture in decoder.frames():
            number = self._index.number_of(picture.pts)
            if self._hurries:
                if number is not None and keyframe.number < expected < number <= start:
                    expected = number  # those between were left out
            else:
                self.damage = self.damage or decoder.damage
            if number != expected and self.damage is None:
                if not self._is_trusted:
                    raise IndexDisagreesError("the index disagrees")
                self.damage = Damage("a picture is missing", expected, time_of(picture))
            if number is None or number < expected:
                continue  # times are damaged, as numbers always rise
            expected = number + 1
            if number >= start:
                self._is_trusted = True
                yield Numbered(number, time_of(picture) or 0.0, picture)
        if not self._hurries:
            self.damage = self.damage or decoder.damage
        self.joined_at = decoder.joined_at


def _hurried(
    stream: VideoStream, packets: Iterator[Packet[VideoStream]], until_pts: int
) -> Iterator[Packet[VideoStream]]:
    """Packets, with the decoder told to leave out pictures before a time that no other one needs."""
    for packet in packets:
        is_passed = packet.pts is not None and packet.pts < until_pts
        stream.codec_context.skip_frame = "NONREF" if is_passed else "DEFAULT"
        yield packet
