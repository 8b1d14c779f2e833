"""`overlay.mp4`: the video with its objects painted on it, as many frames, at the same times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.h264 import H264Video
from vidseg.pipeline.writers.videos import VideoWriter
from vidseg.trackers.painting import Painter

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame

FILE_NAME = "overlay.mp4"


class OverlayWriter(VideoWriter):
    """Paints and encodes frames as they come.

    Args:
        painter: of this video alone.
    """

    name = "overlay"

    def __init__(self, out: Path, *, frame_rate: Fraction | None, painter: Painter) -> None:
        super().__init__(H264Video(out / FILE_NAME, rate=frame_rate))
        self._painter = painter

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        if frame.image is not None:
            self._video.write(
                self._painter.paint(frame.image, masks.obj_ids, masks.masks, masks.boxes), frame.pts_seconds
            )
