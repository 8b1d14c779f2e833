"""Converts decoded pictures to upright RGB with a time in seconds, as the reader promises."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from vidseg.errors import DecodeError
from vidseg.pipeline.read.colours import BT601, LIMITED_RANGE, MATRICES, YCGCO, rgb_of_ycgco, settle_tags
from vidseg.pipeline.read.orientation import Orientation

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.video.stream import VideoStream


PICTURE_FILE_CODECS = ("mjpeg", "png", "tiff", "webp")
"""Codecs in which a packet is a whole file of one picture."""


class ToRgb:
    """Converts decoded pictures to uint8 H x W x 3 arrays as shown, contiguous.

    One scaler is kept for the whole video, as one per picture would cost time. Colour matrix and range follow
    the tags of each picture; without tags they are BT.601 and limited range, as in FFmpeg. Tags are settled
    first; see `vidseg.pipeline.read.colours`.
    """

    def __init__(self, orientation: Orientation) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()
        self._orientation = orientation

    def __call__(self, picture: VideoFrame) -> npt.NDArray[np.uint8]:
        """Convert one picture.

        Raises:
            DecodeError: there is no conversion from its pixels or colours to RGB. Callers add the place.
        """
        settle_tags(picture)
        try:
            rgb = self._from_ycgco(picture) if picture.colorspace == YCGCO else self._by_scaler(picture)
        except (OSError, ValueError) as failure:
            raise _no_conversion(picture, failure) from None
        return self._orientation.apply(rgb)

    def _by_scaler(self, picture: VideoFrame) -> npt.NDArray[np.uint8]:
        rgb = self._scaler.reformat(picture, format="rgb24").to_ndarray()
        return rgb  # type: ignore[return-value]  # rgb24 is always uint8

    def _from_ycgco(self, picture: VideoFrame) -> npt.NDArray[np.uint8]:
        if picture.format.is_rgb or len(picture.format.components) < 3:
            return self._by_scaler(picture)  # this conversion needs no matrix
        matrix: Any = picture
        # The scaler refuses the tag, but the way from YUV to YUV, without any matrix, is all it has to go.
        matrix.colorspace = BT601
        try:
            planes = self._scaler.reformat(
                picture, format="yuv444p", dst_color_range=LIMITED_RANGE
            ).to_ndarray()
        finally:
            matrix.colorspace = YCGCO
        return rgb_of_ycgco(planes)  # type: ignore[arg-type]  # yuv444p is always uint8


def _no_conversion(picture: VideoFrame, failure: Exception) -> DecodeError:
    reason = getattr(failure, "strerror", None) or str(failure)
    matrix = MATRICES.get(picture.colorspace, str(picture.colorspace))
    return DecodeError(
        f"{picture.format.name} pixels with colour matrix {matrix} cannot be converted to RGB ({reason})",
        frames_read=0,
        hint="convert the video first, for example with: ffmpeg -i INPUT -vf zscale=matrix=709 OUTPUT.mp4",
    )


def orientation_of(picture: VideoFrame, packet: Packet[VideoStream] | None = None) -> Orientation:
    """How a picture is turned to be shown.

    The display matrix says it, which containers give to every picture of a turned video; or EXIF data, which
    cameras write into each picture of a Motion JPEG.

    Args:
        packet: the picture as stored, if it is available.
    """
    from av.sidedata.sidedata import Type

    try:
        for side_data in cast(Iterable[Any], picture.side_data):  # this mapping iterates over its values
            if side_data.type == Type.DISPLAYMATRIX:
                return Orientation.from_display_matrix(bytes(side_data))
        turned = Orientation()
    except ValueError:  # a kind of side data, such as EXIF, that PyAV has no name for hides all of them
        turned = Orientation(-90 * round(picture.rotation / 90) % 360)
    is_file = packet is not None and packet.stream.codec_context.codec.canonical_name in PICTURE_FILE_CODECS
    return (Orientation.from_exif(bytes(packet)) if is_file else None) or turned  # type: ignore[arg-type]


LONGEST_PAUSE_S = 3600.0
"""After a longer pause between two pictures, the clock of the stream is taken to have been reset."""


class Clock:
    """Presentation times in seconds, always rising.

    A picture without a time, or whose time runs back (AVI with B-frames, joined streams) or leaps (FFmpeg
    takes the new start of a joined stream for an overflow), gets a time one frame after the one before it.
    """

    def __init__(self, frame_rate: Fraction | None) -> None:
        self._step_s = float(1 / frame_rate) if frame_rate else 0.04
        self._last_s: float | None = None
        self._leapt_s = 0.0

    def time_of(self, picture: VideoFrame) -> float:
        time_s = time_of(picture)
        time_s = None if time_s is None else time_s - self._leapt_s
        if self._last_s is None:
            time_s = 0.0 if time_s is None else time_s
        elif time_s is not None and time_s > self._last_s + LONGEST_PAUSE_S:
            self._leapt_s += time_s - (self._last_s + self._step_s)
            time_s = self._last_s + self._step_s
        elif time_s is None or time_s <= self._last_s:
            time_s = self._last_s + self._step_s
        self._last_s = time_s
        return time_s


def time_of(picture: VideoFrame) -> float | None:
    if picture.pts is None or picture.time_base is None:
        return None
    return float(picture.pts * picture.time_base)
