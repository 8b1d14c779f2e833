"""A window that shows the frames with their objects painted on, as they are tracked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.errors import InputError
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.trackers.painting import Painter

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame

MAX_SIDE = 1280
"""Longest side, in pixels, at which pictures are shown; larger ones are scaled down."""
CLOSING_KEYS = (27, ord("q"))
"""Escape and q close the window; tracking goes on without it."""


class WindowWriter:
    """Shows every frame; writes nothing.

    Raises:
        InputError: OpenCV has no windows here; says how to get them.
    """

    name = "window"

    def __init__(self, title: str, labels: Mapping[int, str]) -> None:
        import cv2

        self._cv2 = cv2
        self._title = title
        self._painter = Painter(labels)
        try:
            cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE)
        except cv2.error:
            raise InputError(
                "there is no window to show the frames in: this OpenCV or this machine has none",
                hint="pip install opencv-python in place of opencv-python-headless, on a machine with a "
                "screen; or leave --show out and look at overlay.mp4",
            ) from None
        self._is_open = True

    def resume(self, is_done: Callable[[int], bool]) -> None:
        return None

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        if not self._is_open or frame.image is None:
            return
        picture = self._painter.paint(frame.image, masks.obj_ids, masks.masks, masks.boxes)
        scale = min(1.0, MAX_SIDE / max(picture.shape[:2]))
        if scale < 1:
            picture = self._cv2.resize(picture, None, fx=scale, fy=scale, interpolation=self._cv2.INTER_AREA)
        self._cv2.imshow(self._title, self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2BGR))
        if self._cv2.waitKey(1) & 0xFF in CLOSING_KEYS:
            self.discard()

    def sync(self) -> None:
        pass  # nothing is kept

    def finish(self) -> list[Path]:
        self.discard()
        return []

    def discard(self) -> None:
        if self._is_open:
            self._is_open = False
            self._cv2.destroyWindow(self._title)
