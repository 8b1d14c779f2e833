"""An mp4 that browsers play: H.264, yuv420p, the index in front (`+faststart`)."""

from __future__ import annotations

import math
import os
import warnings
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import RunError
from vidseg.pipeline.atomic import PART

if TYPE_CHECKING:
    import av
    import numpy.typing as npt

ENCODERS = ("libx264", "h264_videotoolbox", "h264_nvenc", "mpeg4")
"""In order of preference; the last one is in every FFmpeg, but browsers do not play it."""


class H264Video:
    """Writes pictures with their times; the file has its final name when `finish` returns.

    yuv420p holds one colour for two by two pixels, so an odd width or height is made even by repeating the
    last column or row: nothing of the picture is lost, and pixel (x, y) stays at (x, y).

    Args:
        path: the final name.
        rate: frames per second; of variable-rate video any value, since each picture comes with its time.
    """

    def __init__(self, path: Path, *, rate: Fraction | None) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name}{PART}")
        self.rate = Fraction(rate) if rate and rate > 0 else Fraction(30)
        self.time_base = Fraction(1, 90000)
        self._start_seconds: float | None = None
        self._last_pts = -1

    def write(self, image: npt.NDArray[np.uint8], pts_seconds: float) -> None:
        """Add a picture, uint8 (H, W, 3) RGB. Times are kept, less the first one's; they always rise."""
        import av
        from av.video.reformatter import Colorspace

        if self._start_seconds is None:
            self._open(image.shape[0], image.shape[1])
            self._start_seconds = pts_seconds if math.isfinite(pts_seconds) else 0.0
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
            format="yuv420p",
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

    def _open(self, height: int, width: int) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One reformatter for the whole video: a new one per frame allocates FFmpeg's scaler every time.
        self._reformatter = VideoReformatter()
        self._container = av.open(str(self.part), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._add_stream(height + height % 2, width + width % 2)

    def _add_stream(self, height: int, width: int) -> av.VideoStream:
        from av.video.reformatter import ColorRange

        name = next(name for name in ENCODERS if _can_encode(name))
        # Whole ticks per frame at the nominal rate, and fine enough for any other.
        self.time_base = Fraction(1, self.rate.numerator * math.ceil(90000 / self.rate.numerator))
        if name == "mpeg4":
            self.time_base = Fraction(1, 60000)  # it counts up to 65535
            warnings.warn(
                "this FFmpeg has no H.264 encoder: overlay.mp4 is MPEG-4 Part 2, which browsers do not play",
                stacklevel=2,
            )
        stream: Any = self._container.add_stream(name, rate=self.rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = self.time_base
        context = stream.codec_context
        # The same bytes on every machine, and memory that does not grow with its cores.
        context.thread_count = 4
        # BT.709, limited range, said so: untagged video is shown in other colours by each player.
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = ColorRange.MPEG
        if name == "libx264":
            # A short look-ahead keeps fewer frames in memory and is no worse at a fixed quality.
            stream.options = {"preset": "veryfast", "crf": "20", "rc-lookahead": "10"}
        else:
            stream.bit_rate = max(1_000_000, round(float(height * width * self.rate) * 0.15))
        return stream

    def _mux(self, frame: av.VideoFrame | None) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except av.FFmpegError as error:
            raise RunError(f"the video cannot be written ({error.strerror})", where=str(self.path)) from None


def _can_encode(name: str) -> bool:
    """Whether the encoder works here: one may be built in for hardware that is not."""
    import av

    if name in ("libx264", "mpeg4"):
        return name in av.codecs_available
    try:
        context: Any = av.CodecContext.create(name, "w")
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base = Fraction(1, 30)
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True
