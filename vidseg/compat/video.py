"""A video whose frames are visited in any order."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidseg.compat.calls import CallError
from vidseg.errors import InputError
from vidseg.trackers.contract import Frame

if TYPE_CHECKING:
    from vidseg.pipeline.read import Source


class Video:
    """A source whose frames can be read in any order, again and again; the last one is held."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._last: Frame | None = None
        with self._read() as opened:
            if not opened.info.can_seek:
                raise InputError(
                    f"'{opened.name}' can be read only once, and this interface visits frames in any order",
                    hint="give a file, a folder or a list; a session of tracker.start() follows streams",
                )
            self.size_hw: tuple[int, int] = opened.info.size_hw
            known = opened.info.num_frames
            # A length from a header may be wrong, and it matters: SAM 2 scales the times of pointers by it.
            self.num_frames = sum(1 for _ in opened) if known is None else known

    def frame(self, frame_idx: int) -> Frame:
        """One frame.

        Raises:
            CallError: the video has no such frame.
        """
        self.check_has(frame_idx)
        with closing(self.walk(range(frame_idx, frame_idx + 1))) as frames:
            return next(frames)

    def check_has(self, frame_idx: int) -> None:
        """Check that the video has a frame.

        Raises:
            CallError: the video has no such frame.
        """
        if not 0 <= frame_idx < self.num_frames:
            raise CallError(
                f"frame {frame_idx} of a video of {self.num_frames} frames",
                hint=f"frame numbers start at 0; the last one is {self.num_frames - 1}",
            )

    def walk(self, order: range) -> Generator[Frame, None, None]:
        """The frames whose numbers are in `order`, which counts up or down."""
        if order and self._last is not None and self._last.index == order[0]:
            yield self._last
            order = order[1:]
        if not order:
            return
        low, high = sorted((order[0], order[-1]))
        with self._read(start=low, end=high + 1, reverse=order.step < 0) as opened:
            for frame_idx, frame in zip(order, opened, strict=False):
                # `Frame`s in a list may carry other numbers; here a frame's number is its place in the list.
                self._last = frame if frame.index == frame_idx else replace(frame, index=frame_idx)
                yield self._last

    def _read(self, **span: Any) -> Source:
        from vidseg.pipeline.read import read

        return read(self._source, **span)
