"""A source as a run needs it: its facts, its frames once or again, single frames out of turn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from os import PathLike
from typing import Any, Literal

from vidseg.errors import DecodeError, InputError, SourceError, VidsegError
from vidseg.pipeline.prompts import VideoFacts, past_the_end
from vidseg.pipeline.read import Source, SourceInfo, read
from vidseg.trackers.contract import Frame

COUNTED_FRAMES = 64
"""Videos whose header claims at most this many frames are counted by decoding: SAM 2 treats videos of under
16 frames differently, and headers may be wrong."""


class Video:
    """A source that is opened as often as it allows.

    Args:
        source, start, end, reader, queue_frames, on_behind: see `vidseg.read`.

    Raises:
        SourceError: see `vidseg.read`.
    """

    def __init__(
        self,
        source: str | PathLike[str] | int | Iterable[Any],
        *,
        start: int | None,
        end: int | None,
        reader: Literal["pyav", "decord"],
        queue_frames: int,
        on_behind: Literal["wait", "drop"] | None,
    ) -> None:
        self.start = start
        self.end = end
        self._source = source
        self._reader = reader
        self._queue_frames = queue_frames
        self._on_behind = on_behind
        self.keep_decoded = True
        """Whether frames read from now on hold their decoded picture; see `vidseg.read`."""
        self._opened: list[Source] = []
        self._further_remarks: list[str] = []
        first_look = self._open(start, end)
        self.info: SourceInfo = first_look.info
        self.can_read_again = self.info.can_seek and not self.info.is_live
        if self.can_read_again:
            first_look.close()
        self._only_look = None if self.can_read_again else first_look
        self.num_frames = self.info.num_frames
        """Number of frames of the whole source, if it is known for certain."""
        claim = self.info.num_frames_from_header
        if self.num_frames is None and self.can_read_again and (claim is None or claim <= COUNTED_FRAMES):
            self.num_frames = self._count_up_to(COUNTED_FRAMES)

    def frames(self, start: int | None, end: int | None, *, reverse: bool = False) -> Iterator[Frame]:
        """The frames from `start` up to, but not including, `end`.

        A source that cannot be read again gives those for which it was opened.
        """
        opened = self._only_look or self._open(start, end, reverse=reverse)
        self._opened.append(opened)
        return iter(opened)

    def frame(self, frame_idx: int, where: str) -> Frame:
        """One frame out of turn.

        Args:
            where: the prompt that asks for it, for the message.

        Raises:
            PromptError: there is no such frame.
        """
        try:
            with self._open(frame_idx, frame_idx + 1) as opened:
                frame = next(iter(opened), None)
        except SourceError:
            frame = None
        if frame is None:
            raise past_the_end(frame_idx, self.info.name, self._count(), where)
        return frame

    def facts(self) -> VideoFacts:
        return VideoFacts(
            name=self.info.name,
            size_hw=self.info.size_hw,
            start=self.start or 0,
            end=self.end,
            num_frames=self.num_frames,
        )

    def about(self, start: int | None, end: int | None) -> int | None:
        """How many frames `frames(start, end)` will give, as far as that is known or claimed."""
        length = self.num_frames or self.info.num_frames_from_header
        if end is None or (length is not None and length < end):
            end = length
        return None if end is None else max(0, end - (start or 0))

    def remarks(self) -> list[str]:
        """What was odd about the frames read, each thing once; see `Source.remarks`."""
        of_sources = (remark for opened in self._opened for remark in opened.remarks)
        return list(dict.fromkeys([*of_sources, *self._further_remarks]))

    @property
    def is_damaged(self) -> bool:
        """Whether damage was met in the frames read so far; see `Source.is_damaged`."""
        return any(opened.is_damaged for opened in self._opened)

    def remark(self, text: str) -> None:
        """Add to the remarks what somebody else found odd about the frames."""
        self._further_remarks.append(text)

    def sha256_of_ends(self) -> str | None:
        """A checksum of the length, the first and the last picture of a sequence of arrays, which has no file
        to tell it by; None for other sources."""
        if self.info.kind != "array" or not self.can_read_again or self.num_frames is None:
            return None
        digest = hashlib.sha256(str(self.num_frames).encode())
        for frame_idx in (0, self.num_frames - 1):
            with suppress(VidsegError), self._open(frame_idx, frame_idx + 1) as opened:  # the run will tell
                for frame in opened:
                    digest.update(b"" if frame.image is None else frame.image.tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """End all reading."""
        for opened in [*self._opened, *([self._only_look] if self._only_look else [])]:
            opened.close()

    def _open(self, start: int | None, end: int | None, *, reverse: bool = False) -> Source:
        return read(
            self._source,
            start=start,
            end=end,
            reverse=reverse,
            reader=self._reader,
            queue_frames=self._queue_frames,
            on_behind=self._on_behind,
            keep_decoded=self.keep_decoded,
        )

    def _count(self) -> int:
        if self.num_frames is None:
            count = 0
            with self._open(None, None) as opened:
                try:
                    for _ in opened:
                        count += 1
                except DecodeError:
                    pass
            self.num_frames = count
        return self.num_frames

    def _count_up_to(self, limit: int) -> int | None:
        """The number of frames of the source if it is at most `limit`; else, or if the source is broken,
        None."""
        count = 0
        try:
            with self._open(None, limit + 1) as opened:
                for _ in opened:
                    count += 1
        except (DecodeError, InputError):
            return None
        return count if count <= limit else None
