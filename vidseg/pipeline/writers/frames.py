"""`frames/00000.jpg`: the frames as they were tracked, for tools that want a picture per frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vidseg.errors import RunError
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.finished import VideoDescription
from vidseg.pipeline.writers.pictures import discard_pictures, resume_pictures, write_picture

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame

QUALITY = 95


class FramesWriter:
    """Writes one JPEG per frame. Exchange formats refer to these if the source is no folder of frames."""

    name = "frames"

    def __init__(self, out: Path, video: VideoDescription) -> None:
        self.folder = out / "frames"
        self.video = video

    def resume(self, is_done: Callable[[int], bool]) -> int:
        return resume_pictures(self.folder, ".jpg", self.video, is_done)

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        import cv2

        if frame.image is None:
            return
        path = self.folder / f"{self.video.frame_name(frame.index)}.jpg"
        is_written, data = cv2.imencode(
            ".jpg", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        if not is_written:
            raise RunError("the frame cannot be written as a JPEG", where=str(path))
        write_picture(path, data.tobytes())

    def sync(self) -> None:
        pass  # every frame was given its final name when it was written

    def finish(self) -> list[Path]:
        return [self.folder] if self.folder.is_dir() else []

    def discard(self) -> None:
        discard_pictures(self.folder)
