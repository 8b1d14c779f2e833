"""Writers of one video, to which each frame adds a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.timed_video import TimedVideo

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame


class VideoWriter:
    """Encodes pictures as they come; subclasses make them, in `write`. It cannot take up an interrupted run:
    see `replay`."""

    name: str

    def __init__(self, video: TimedVideo) -> None:
        self._video = video

    def resume(self, is_done: Callable[[int], bool]) -> int:
        self.discard()
        return 0

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        raise NotImplementedError

    def sync(self) -> None:
        pass  # an encoder's state cannot be taken up again

    def finish(self) -> list[Path]:
        return [self._video.path] if self._video.finish() else []

    def discard(self) -> None:
        self._video.discard()
