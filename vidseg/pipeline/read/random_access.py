"""Reads single frames of a source in any order, each the very frame that `vidseg.read` numbers so."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import pairwise
from os import PathLike, fspath
from pathlib import Path

from vidseg.errors import SourceError
from vidseg.pipeline.read import read
from vidseg.pipeline.read.info import SourceInfo
from vidseg.pipeline.read.numbering import (
    HURRIED_CODECS,
    ByCounting,
    ByIndex,
    IndexDisagreesError,
    Numbered,
    Numbering,
)
from vidseg.pipeline.read.packet_index import PacketIndex
from vidseg.pipeline.read.pyav_video import FrameMaker, VideoFile
from vidseg.trackers.contract import Frame

REOPENING_FRAMES = 8
"""Opening a file and seeking in it costs about as much as decoding this many frames."""
HURRIED_SHARE = 0.6
"""Frames that are only passed through cost about this share of others, where some can be left out."""
LEAST_GROUP_FRAMES = 32
"""Groups of frames that are decoded together are at least this long."""


class RandomAccess:
    """A file or a folder whose frames can be asked for by number. For one thread; `another()` is for others.

    Frames near each other, in rising order, cost least: the decoder stays open behind the last one.

    Raises:
        SourceError: see `vidseg.read`; or the source is live, or cannot be sought in.
    """

    def __init__(self, source: str | PathLike[str]) -> None:
        self.source = fspath(source)
        self.keep_decoded = False
        with read(self.source, keep_decoded=False) as opened:
            self.info: SourceInfo = opened.info
        if self.info.is_live or not self.info.can_seek:
            raise SourceError(f"'{self.info.name}' cannot be read again", hint="record it to a file first")
        self._video: _Video | None = None
        if self.info.kind == "video":
            self._video = _Video(VideoFile(Path(self.source), keep_decoded=False))
        self.num_frames = self._count()
        """How many frames the source has."""

    def another(self, *, keep_decoded: bool = False) -> RandomAccess:
        """The same source once more, opened on its own; what was learned of it is shared.

        Args:
            keep_decoded: see `vidseg.read`; frames of the first one never are kept so.
        """
        new = RandomAccess.__new__(RandomAccess)
        new.source, new.info, new.num_frames = self.source, self.info, self.num_frames
        new.keep_decoded = keep_decoded
        new._video = None
        if self._video is not None:
            file = VideoFile(Path(self.source), keep_decoded=keep_decoded)
            new._video = _Video(file, self._video.index, counts=self._video.counts)
        return new

    def frame(self, number: int) -> Frame:
        """One frame.

        Raises:
            SourceError: there is none of this number.
            DecodeError: it cannot be decoded.
        """
        if not 0 <= number < self.num_frames:
            raise SourceError(
                f"'{self.info.name}' has no frame {number}", hint=f"its last one is {self.num_frames - 1}"
            )
        if self._video is not None:
            return self._video.frame(number)
        with read(self.source, start=number, end=number + 1, keep_decoded=self.keep_decoded) as opened:
            return next(iter(opened))

    def groups(self) -> list[range]:
        """The frames in groups that are best read together, as decoding begins at the first frame of each.

        Groups are at least `LEAST_GROUP_FRAMES` long, but for the last one.
        """
        starts: Iterable[int] = range(0, self.num_frames, LEAST_GROUP_FRAMES)
        if self._video is not None:
            starts = [0] if self._video.index is None else self._video.index.keyframes
        kept: list[int] = []
        for start in starts:
            if not kept or start - kept[-1] >= LEAST_GROUP_FRAMES:
                kept.append(start)
        return [range(a, b) for a, b in pairwise([*kept, self.num_frames])]

    def close(self) -> None:
        if self._video is not None:
            self._video.close()

    def _count(self) -> int:
        if self.info.num_frames is not None:
            return self.info.num_frames
        if self._video is not None:
            return self._video.count()
        with read(self.source, keep_decoded=False) as opened:
            return sum(1 for _ in opened)


class _Video:
    """A video file with its decoder, which stays where the last frame was."""

    def __init__(self, file: VideoFile, index: PacketIndex | None = None, *, counts: bool = False) -> None:
        self.file = file
        self.index = None if counts else index or file.index()
        self.counts = self.index is None
        """Whether frames must be counted from the first one on, as the packets do not tell their numbers."""
        self._hurries = file.info.codec in HURRIED_CODECS
        self._maker = FrameMaker(file)
        self._pictures: Generator[Numbered, None, None] | None = None
        self._next = 0

    def count(self) -> int:
        if self.index is not None:
            return len(self.index)
        counting = ByCounting(self.file.path, self.file.info.frame_rate)
        for _ in counting.pictures(0):
            pass
        return counting.frames_counted

    def frame(self, number: int) -> Frame:
        try:
            return self._maker.frame(self._picture(number))
        except IndexDisagreesError:
            self.close()
            if self._hurries:
                self._hurries = False
            else:
                self.index, self.counts = None, True
            return self.frame(number)

    def _picture(self, number: int) -> Numbered:
        keyframe = 0 if self.index is None else self.index.keyframe_for(number).number
        passed = (number - keyframe) * (HURRIED_SHARE if self._hurries else 1)
        if self._pictures is None or number < self._next or passed + REOPENING_FRAMES < number - self._next:
            self.close()
            self._pictures, self._next = self._open(number), number
        for numbered in self._pictures:
            self._next = numbered.number + 1
            if numbered.number >= number:
                break
        else:
            self._pictures = None
            raise SourceError(f"frame {number} of '{self.file.path.name}' cannot be decoded")
        if numbered.number > number:
            self.close()
            raise SourceError(f"frame {number} of '{self.file.path.name}' is damaged and cannot be decoded")
        return numbered

    def _open(self, number: int) -> Generator[Numbered, None, None]:
        numbering: Numbering
        if self.index is None:
            numbering = ByCounting(self.file.path, self.file.info.frame_rate)
        else:
            numbering = ByIndex(self.file.path, self.index, hurries=self._hurries)
        return numbering.pictures(number)

    def close(self) -> None:
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None
