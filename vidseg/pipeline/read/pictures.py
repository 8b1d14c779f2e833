"""Decoded pictures turned into what the reader promises: upright RGB and a time in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from vidseg.pipeline.read.orientation import Orientation

if TYPE_CHECKING:
    from av import VideoFrame


class ToRgb:
    """Turns decoded pictures into uint8 H x W x 3 arrays as shown, contiguous.

    One scaler is kept for the whole video; one per picture would cost time. Colour matrix and range follow
    the picture's own tags: BT.601 and limited range where it has none, as FFmpeg does.
    """

    def __init__(self, orientation: Orientation) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()
        self._orientation = orientation

    def __call__(self, picture: VideoFrame) -> npt.NDArray[np.uint8]:
        rgb = self._scaler.reformat(picture, format="rgb24").to_ndarray()
        return self._orientation.apply(rgb)  # type: ignore[arg-type]  # rgb24 is always uint8


def orientation_of(picture: VideoFrame) -> Orientation:
    """The picture's display matrix, which containers hand to every picture of a turned video."""
    from av.sidedata.sidedata import Type

    for side_data in cast(Iterable[Any], picture.side_data):  # a mapping that iterates over its values
        if side_data.type == Type.DISPLAYMATRIX:
            return Orientation.from_display_matrix(bytes(side_data))
    return Orientation()


class Clock:
    """Presentation times in seconds, always rising.

    A picture without a time, or with one that runs backwards (AVI with B-frames, joined streams), comes one
    frame after the picture before it.
    """

    def __init__(self, frame_rate: Fraction | None) -> None:
        self._step_s = float(1 / frame_rate) if frame_rate else 0.04
        self._last_s: float | None = None

    def time_of(self, picture: VideoFrame) -> float:
        time_s = time_of(picture)
        if self._last_s is None:
            time_s = 0.0 if time_s is None else time_s
        elif time_s is None or time_s <= self._last_s:
            time_s = self._last_s + self._step_s
        self._last_s = time_s
        return time_s


def time_of(picture: VideoFrame) -> float | None:
    if picture.pts is None or picture.time_base is None:
        return None
    return float(picture.pts * picture.time_base)
