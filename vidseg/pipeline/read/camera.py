"""Opens cameras by number, through OpenCV, which knows the camera interface of each operating system."""

from __future__ import annotations

import time
from collections.abc import Generator
from fractions import Fraction
from typing import Any

import numpy as np

from vidseg.errors import DecodeError, SourceError
from vidseg.pipeline.read.frame_range import FrameRange
from vidseg.pipeline.read.info import SourceInfo
from vidseg.trackers.contract import Frame


def open_camera(number: int, span: FrameRange) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    """The facts of a camera, and a generator of its frames; time runs from the first one.

    Raises:
        SourceError: there is no such camera, or it gives no picture.
    """
    # OpenCV crashes on negative numbers, and reads hundreds as the choice of a driver.
    if not 0 <= number < 100:
        raise SourceError(f"camera {number} cannot be opened", hint="cameras have the numbers 0 to 99")
    import cv2

    name = f"camera {number}"
    # OpenCV logs its search for a camera to standard error; our own error says enough.
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(number)
    finally:
        cv2.utils.logging.setLogLevel(level)
    is_open, first = capture.isOpened(), None
    if is_open:
        is_open, first = capture.read()
    if not is_open or first is None:
        capture.release()
        raise SourceError(
            f"{name} cannot be opened",
            hint="check that it is connected, free and allowed; the first camera is number 0",
        )
    rate = capture.get(cv2.CAP_PROP_FPS)
    info = SourceInfo(
        kind="camera",
        name=name,
        size_hw=(first.shape[0], first.shape[1]),
        frame_rate=Fraction(rate).limit_denominator(1001) if 0 < rate < 1000 else None,
        is_live=True,
        can_seek=False,
    )
    return info, _frames(capture, first, span, name)


def _frames(capture: Any, first: Any, span: FrameRange, name: str) -> Generator[Frame, None, None]:
    started = time.monotonic()
    bgr, number = first, 0
    try:
        while span.end is None or number < span.end:
            if number >= span.start:
                rgb = np.ascontiguousarray(bgr[:, :, ::-1])
                yield Frame(number, time.monotonic() - started, rgb)
            is_good, bgr = capture.read()
            number += 1
            if not is_good:
                raise DecodeError(
                    f"{name} gives no more pictures",
                    where=f"after frame {number - 1}",
                    frames_read=max(0, number - span.start),
                    hint="check its cable, and that nothing else took it",
                )
    finally:
        capture.release()
