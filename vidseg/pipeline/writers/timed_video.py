"""A video file made of pictures with times; subclasses choose the codec."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vidseg.errors import RunError
from vidseg.pipeline.atomic import PART

if TYPE_CHECKING:
    import av
    import numpy.typing as npt

THREADS = 4
"""Threads that encode: as many on every machine, so that memory does not grow with its cores."""


class TimedVideo:
    """Writes pictures with their times; the file has its final name when `finish` returns.

    Args:
        path: the final name.
        rate: frames per second; of variable-rate video any value, since each picture comes with its time.
    """

    container_format: ClassVar[str]
    container_options: ClassVar[dict[str, str]] = {}
    picture_format: ClassVar[str]
    """FFmpeg's name for the arrays that `write` takes."""
    pixel_format: ClassVar[str]
    """FFmpeg's name for the format that is encoded."""
    divides_sides_by: ClassVar[int] = 1
    """Width and height are made multiples of this by repeating the last column or row: nothing of the picture
    is lost, and pixel (x, y) stays at (x, y)."""

    def __init__(self, path: Path, *, rate: Fraction | None) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name}{PART}")
        self.rate = Fraction(rate) if rate and rate > 0 else Fraction(30)
        # Whole ticks per frame at the nominal rate, and fine enough for any other.
        self.time_base = Fraction(1, self.rate.numerator * math.ceil(90000 / self.rate.numerator))
        self._start_seconds: float | None = None
        self._last_pts = -1

    def write(self, image: npt.NDArray[np.uint8], pts_seconds: float) -> None:
        """Add a picture, uint8 (H, W, channels). Times are kept, less the first one's; they always rise."""
        import av
        from av.video.reformatter import Colorspace

        if self._start_seconds is None:
            self._open(image.shape[0], image.shape[1])
            self._start_seconds = pts_seconds if math.isfinite(pts_seconds) else 0.0
        down, right = (-side % self.divides_sides_by for side in image.shape[:2])
        if down or right:
            image = np.pad(image, ((0, down), (0, right), (0, 0)), mode="edge")
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=self.picture_format),
            format=self.pixel_format,
            dst_colorspace=Colorspace.ITU709,
        )
        after_last = self._last_pts + 1
        if not math.isfinite(pts_seconds):
            after_last = (
                self._last_pts + round(1 / (self.rate * self.time_base)) if self._last_pts >= 0 else 0
            )
            pts_seconds = self._start_seconds
        pts = max(round((pts_seconds - self._start_seconds) / self.time_base), after_last)
        frame.pts, frame.time_base = pts, self.time_base
        self._last_pts = pts
        self._mux(frame)

    def finish(self) -> bool:
        """Give the file its final name; False where no picture came, and there is no file."""
        if self._start_seconds is None:
            return False
        self._mux(None)
        self._container.close()
        os.replace(self.part, self.path)
        return True

    def discard(self) -> None:
        if self._start_seconds is not None:
            self._container.close()
        self.part.unlink(missing_ok=True)

    def add_stream(self, container: av.container.OutputContainer, height: int, width: int) -> Any:
        """The stream, with the codec and its options; sizes, times and colours are set by the caller."""
        raise NotImplementedError

    def _open(self, height: int, width: int) -> None:
        import av
        from av.video.reformatter import ColorRange, VideoReformatter

        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One reformatter for the whole video: a new one per frame allocates FFmpeg's scaler every time.
        self._reformatter = VideoReformatter()
        self._container = av.open(
            str(self.part), "w", format=self.container_format, options=self.container_options
        )
        height += -height % self.divides_sides_by
        width += -width % self.divides_sides_by
        self._stream = stream = self.add_stream(self._container, height, width)
        stream.width, stream.height, stream.pix_fmt = width, height, self.pixel_format
        context = stream.codec_context
        stream.time_base = context.time_base = self.time_base
        context.thread_count = THREADS
        # Tag it as BT.709, limited range: players guess, differently, the colours of untagged video.
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = ColorRange.MPEG

    def _mux(self, frame: av.VideoFrame | None) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except av.FFmpegError as error:
            raise RunError(f"the video cannot be written ({error.strerror})", where=str(self.path)) from None
