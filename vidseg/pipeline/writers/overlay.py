"""`overlay.mp4`: the video with its objects painted on it, as many frames, at the same times."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.h264 import H264Video
from vidseg.trackers.painting import Painter

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame

FILE_NAME = "overlay.mp4"


class OverlayWriter:
    """Paints and encodes frames as they come. It cannot take up an interrupted run; see `replay`.

    Args:
        painter: of this video alone.
    """

    name = "overlay"

    def __init__(self, out: Path, *, frame_rate: Fraction | None, painter: Painter) -> None:
        self._video = H264Video(out / FILE_NAME, rate=frame_rate)
        self._painter = painter

    def resume(self, is_done: Callable[[int], bool]) -> int:
        self.discard()
        return 0

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        if frame.image is not None:
            self._video.write(
                self._painter.paint(frame.image, masks.obj_ids, masks.masks, masks.boxes), frame.pts_seconds
            )

    def sync(self) -> None:
        pass  # an encoder's state cannot be taken up again

    def finish(self) -> list[Path]:
        return [self._video.path] if self._video.finish() else []

    def discard(self) -> None:
        self._video.discard()
