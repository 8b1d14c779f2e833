"""An mp4 that browsers play: H.264, yuv420p, the index in front (`+faststart`)."""

from __future__ import annotations

import warnings
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from vidseg.pipeline.writers.timed_video import TimedVideo

if TYPE_CHECKING:
    import av

ENCODERS = ("libx264", "h264_videotoolbox", "h264_nvenc", "mpeg4")
"""Encoders, the preferred one first; the last one is in every FFmpeg, but browsers do not play it."""


class H264Video(TimedVideo):
    """Writes uint8 (H, W, 3) RGB. yuv420p holds one colour for two by two pixels, so sides are made even."""

    container_format = "mp4"
    container_options = {"movflags": "+faststart"}  # noqa: RUF012 (nobody changes it)
    picture_format = "rgb24"
    pixel_format = "yuv420p"
    divides_sides_by = 2

    def add_stream(self, container: av.container.OutputContainer, height: int, width: int) -> Any:
        name = next(name for name in ENCODERS if _can_encode(name))
        if name == "mpeg4":
            self.time_base = Fraction(1, 60000)  # it counts up to 65535
            warnings.warn(
                "this FFmpeg has no H.264 encoder: overlay.mp4 is MPEG-4 Part 2, which browsers do not play",
                stacklevel=2,
            )
        stream: Any = container.add_stream(name, rate=self.rate)
        if name == "libx264":
            # With a look-ahead x264 reads memory that it has not written, so that the same pictures give
            # other bytes at times, and a resumed run other files. Without one files are a tenth larger.
            stream.options = {"preset": "veryfast", "crf": "20", "rc-lookahead": "0"}
        else:
            stream.bit_rate = max(1_000_000, round(float(height * width * self.rate) * 0.15))
        return stream


def _can_encode(name: str) -> bool:
    """Whether an encoder works here: some are built in for hardware that may be missing."""
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
