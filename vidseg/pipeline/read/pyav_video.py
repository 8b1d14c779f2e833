"""Reads video files with PyAV."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.errors import DecodeError, SourceError
from vidseg.pipeline.read.container_walk import find_break
from vidseg.pipeline.read.containers import open_container
from vidseg.pipeline.read.decoding import Damage, Decoder
from vidseg.pipeline.read.frame_range import FrameRange, beyond_the_end
from vidseg.pipeline.read.info import SourceInfo
from vidseg.pipeline.read.numbering import ByCounting, ByIndex, IndexDisagreesError, Numbered, Numbering
from vidseg.pipeline.read.orientation import Orientation
from vidseg.pipeline.read.packet_index import PacketIndex, index_packets
from vidseg.pipeline.read.pictures import ToRgb, orientation_of
from vidseg.pipeline.read.resizing import Resizing
from vidseg.pipeline.read.reverse import piece_frames, reversed_pictures
from vidseg.pipeline.read.source import Noted
from vidseg.trackers.contract import Frame

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream

CHECKED_PICTURES = 32
"""How many pictures are decoded to check that times of packets give the order of pictures."""


def open_video(
    path: Path, span: FrameRange, noted: Noted, *, reverse: bool, keep_decoded: bool = True
) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    """The facts of a video file, and a generator of its frames. The first picture is decoded here.

    A start above 0, or reverse order, reads all packets once, without decoding them, to index the frames.

    Args:
        noted: what is odd or damaged is noted there while frames are read.

    Raises:
        SourceError: it cannot be opened, holds no video, no picture of it can be decoded, or it ends before
            the start (said when the first frame is asked for, where the file has to be decoded to know).
    """
    video = VideoFile(path, noted, keep_decoded=keep_decoded)
    index = video.index() if span.start > 0 or reverse else None
    if index is not None:
        span.slice(len(index), path.name)
    return video.info, video.frames(span, index, reverse=reverse)


class VideoFile:
    """One file: its facts, the places of its frames, and the frames.

    Args:
        noted: see `open_video`.
        keep_decoded: see `vidseg.read`.

    Raises:
        SourceError: it cannot be opened, holds no video, or no picture of it can be decoded.
    """

    def __init__(self, path: Path, noted: Noted | None = None, *, keep_decoded: bool = True) -> None:
        self.path = path
        self.noted = noted or Noted()
        self.keep_decoded = keep_decoded
        decoder = Decoder(self._begin)
        with closing(decoder.frames()) as pictures:
            first = next(pictures, None)
            if first is None:
                reason = f" ({decoder.damage.what})" if decoder.damage else ""
                raise SourceError(
                    f"'{path.name}' holds no frame that can be decoded{reason}",
                    hint="check that the file is whole",
                )
            self.orientation = orientation_of(first, decoder.first_packet)
            self.stored_hw = (first.height, first.width)
            self.bytes_per_picture = sum(plane.buffer_size for plane in first.planes)
            self.info = _info(path, self._container, self._stream, self.stored_hw, self.orientation)

    def _begin(self, threaded: bool) -> tuple[InputContainer, VideoStream, Iterator[Packet[VideoStream]]]:
        self._container, self._stream = open_container(
            f"file:{self.path}", self.path.name, threading="AUTO" if threaded else "NONE"
        )
        return self._container, self._stream, self._container.demux(self._stream)

    def index(self) -> PacketIndex | None:
        """The index of all frames, if the packets allow one."""
        decoder = Decoder(self._begin)
        first_pts: list[int | None] = []
        with closing(decoder.frames()) as pictures:
            for picture in islice(pictures, CHECKED_PICTURES):
                if decoder.damage is not None and first_pts:
                    break  # from here on a picture may be missing that the packets have
                first_pts.append(picture.pts)
        container, stream = open_container(f"file:{self.path}", self.path.name)
        with container:
            return index_packets(container, stream, first_pts)

    def frames(
        self, span: FrameRange, index: PacketIndex | None, *, reverse: bool
    ) -> Generator[Frame, None, None]:
        """The wanted frames; then a DecodeError is raised if the file is broken where they were read."""
        if index is not None:
            by_index = ByIndex(self.path, index)
            wanted = span.slice(len(index), self.path.name)
            try:
                if reverse:
                    yield from self._reverse(wanted, len(index), by_index, index.keyframes)
                else:
                    yield from self._forward(span, by_index)
                return
            except IndexDisagreesError:
                pass  # no frame has been returned yet
        by_counting = ByCounting(self.path, self.info.frame_rate)
        if reverse:
            for _ in by_counting.pictures(0):
                pass
            total = by_counting.frames_counted
            yield from self._reverse(span.slice(total, self.path.name), total, by_counting, ())
        else:
            yield from self._forward(span, by_counting)
            if by_counting.frames_counted <= span.start:
                raise beyond_the_end(self.path.name, span.start, by_counting.frames_counted)

    def _forward(self, span: FrameRange, numbering: Numbering) -> Generator[Frame, None, None]:
        output = FrameMaker(self)
        reaches_end = True
        with closing(numbering.pictures(span.start)) as pictures:
            for numbered in pictures:
                if span.end is not None and numbered.number >= span.end:
                    reaches_end = False
                    break
                self.noted.is_damaged |= numbering.damage is not None
                yield output.frame(numbered)
        self._remark_on(numbering)
        output.check(numbering.damage, reaches_end=reaches_end)

    def _reverse(
        self, wanted: range, total: int, numbering: Numbering, keyframes: Sequence[int]
    ) -> Generator[Frame, None, None]:
        output = FrameMaker(self)
        size = piece_frames(self.bytes_per_picture)
        for numbered in reversed_pictures(numbering, wanted, size, keyframes):
            self.noted.is_damaged |= numbering.damage is not None
            yield output.frame(numbered)
        self._remark_on(numbering)
        output.check(numbering.damage, reaches_end=wanted.stop == total)

    def _remark_on(self, numbering: Numbering) -> None:
        if numbering.joined_at is not None:
            self.noted.remarks.append(
                f"'{self.path.name}' was joined from several streams, the first joint at frame"
                f" {numbering.joined_at}; nothing is missing there, but its times may begin again"
            )


class FrameMaker:
    """Makes frames of pictures; in the end it says whether the file is broken where they came from."""

    def __init__(self, video: VideoFile) -> None:
        self._video = video
        self._to_rgb = ToRgb(video.orientation)
        self._resizing = Resizing(video.orientation) if video.keep_decoded else None
        self._read = 0
        self._highest_s = 0.0

    def frame(self, numbered: Numbered) -> Frame:
        number, time_s, picture = numbered
        if (picture.height, picture.width) != self._video.stored_hw:
            height, width = self._video.stored_hw
            raise DecodeError(
                f"'{self._video.path.name}' changes its size from {width}x{height} to"
                f" {picture.width}x{picture.height}",
                where=f"frame {number}, {time_s:.3f} s",
                frames_read=self._read,
                hint="cut the file there, or convert it to one size",
            )
        try:
            image = self._to_rgb(picture)
        except DecodeError as failure:
            failure.frames_read = self._read
            raise failure.at(f"'{self._video.path.name}', frame {number}, {time_s:.3f} s") from None
        self._read += 1
        self._highest_s = max(self._highest_s, time_s)
        decoded = self._resizing.keep(picture, image) if self._resizing else None
        return Frame(number, time_s, image, decoded=decoded)

    def check(self, damage: Damage | None, *, reaches_end: bool) -> None:
        """Raise a DecodeError for damage among the frames read; threads may have met some beyond them."""
        found = find_break(self._video.path) if reaches_end else None
        is_among = damage and (reaches_end or damage.time_s is None or damage.time_s <= self._highest_s)
        if found is None and not is_among:
            return
        what, where = None, f"after frame {self._read - 1}" if self._read else None
        if damage is not None and is_among:
            what, where = damage.what, damage.place()
        if found is not None:
            what = found
        raise DecodeError(
            f"'{self._video.path.name}' is damaged: {what}",
            where=where,
            frames_read=self._read,
            hint="the frames that could be decoded are kept; the rest needs a whole copy of the file",
        )


def _info(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    stored_hw: tuple[int, int],
    orientation: Orientation,
) -> SourceInfo:
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / 1_000_000
    return SourceInfo(
        kind="video",
        name=path.name,
        path=path,
        size_hw=stored_hw[::-1] if orientation.rotation_deg in (90, 270) else stored_hw,
        frame_rate=stream.average_rate or stream.guessed_rate or None,
        num_frames_from_header=stream.frames or None,
        duration_s=duration_s,
        codec=stream.codec_context.codec.canonical_name,
        rotation_deg=orientation.rotation_deg,
    )
