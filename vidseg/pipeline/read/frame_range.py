"""The range of wanted frames of a source."""

from __future__ import annotations

from dataclasses import dataclass

from vidseg.errors import SourceError


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames from `start` up to, but not including, `end` (None: to the last one), by decode order."""

    start: int = 0
    end: int | None = None

    @classmethod
    def of(cls, start: int | None, end: int | None) -> FrameRange:
        """Check what a caller gave.

        Raises:
            SourceError: a negative number, or nothing between start and end.
        """
        first = 0 if start is None else start
        if first < 0 or (end is not None and end < 0):
            raise SourceError(
                f"frame number {first if first < 0 else end} is negative",
                hint="frame numbers start at 0",
            )
        if end is not None and end <= first:
            raise SourceError(
                f"no frames between start {first} and end {end}",
                hint="the end is exclusive: give an end above the start",
            )
        return cls(first, end)

    def slice(self, num_frames: int, name: str) -> range:
        """The wanted frame numbers of a source of `num_frames` frames.

        Raises:
            SourceError: the start lies beyond the last frame.
        """
        if self.start >= num_frames:
            raise beyond_the_end(name, self.start, num_frames)
        return range(self.start, num_frames if self.end is None else min(self.end, num_frames))


def beyond_the_end(name: str, start: int, num_frames: int) -> SourceError:
    """The error of a start that lies beyond the last frame."""
    return SourceError(
        f"start frame {start} is past the end of '{name}' ({num_frames} frames)",
        hint=f"frame numbers start at 0; the last one is {num_frames - 1}",
    )
