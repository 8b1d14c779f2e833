"""`overlay.mp4`: the video with its objects painted on it, as many frames, at the same times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidseg.errors import DecodeError
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.h264 import H264Video
from vidseg.pipeline.writers.painting import Painter

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame

FILE_NAME = "overlay.mp4"


class OverlayWriter:
    """Paints and encodes frames as they come. It cannot take up an interrupted run: see `render_overlay`."""

    name = "overlay"

    def __init__(self, out: Path, *, frame_rate: Fraction | None, labels: Mapping[int, str]) -> None:
        self._video = H264Video(out / FILE_NAME, rate=frame_rate)
        self._painter = Painter(labels)

    def resume(self, is_done: Callable[[int], bool]) -> int:
        self.discard()
        return 0

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        if frame.image is not None:
            self._video.write(self._painter.paint(frame.image, masks), frame.pts_seconds)

    def sync(self) -> None:
        pass  # an encoder's state cannot be taken up again

    def finish(self) -> list[Path]:
        return [self._video.path] if self._video.finish() else []

    def discard(self) -> None:
        self._video.discard()


def render_overlay(
    frames: Iterable[Frame],
    masklets: Iterator[FrameMasks],
    out: Path,
    *,
    frame_rate: Fraction | None,
    labels: Mapping[int, str],
) -> list[Path]:
    """Paint a finished run, where its frames did not come in rising order or in one go.

    Args:
        frames: the source once more, in rising order; a frame without a line in `masklets` stays as it is.
        masklets: in rising order; see `read_masklets`.
        out: the run's folder.

    Returns:
        The overlay's path; nothing where there are no frames. Of a source that breaks, what could be read.
    """
    writer = OverlayWriter(out, frame_rate=frame_rate, labels=labels)
    masks = next(masklets, None)
    try:
        for frame in frames:
            while masks is not None and masks.frame_idx < frame.index:
                masks = next(masklets, None)
            if masks is not None and masks.frame_idx == frame.index:
                writer.write(frame, masks)
            else:
                writer.write(frame, _no_objects(frame))
    except DecodeError:
        pass  # the run itself broke here and said so
    except BaseException:
        writer.discard()
        raise
    return writer.finish()


def _no_objects(frame: Frame) -> FrameMasks:
    return FrameMasks(
        frame.index, frame.pts_seconds, frame.size_hw, [], np.zeros((0, *frame.size_hw), np.bool_), []
    )
