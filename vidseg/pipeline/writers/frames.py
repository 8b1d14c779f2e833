"""`frames/00000.jpg`: the frames as they were tracked, for tools that want a picture per frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vidseg.errors import RunError
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.pictures import PictureWriter, write_picture

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame

QUALITY = 95


class FramesWriter(PictureWriter):
    """Writes one JPEG per frame. Exchange formats refer to these if the source is no folder of frames."""

    name = "frames"
    folder_name, suffix = "frames", ".jpg"

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        import cv2

        if frame.image is None:
            return
        path = self.path_of(frame.index)
        is_written, data = cv2.imencode(
            ".jpg", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        if not is_written:
            raise RunError("the frame cannot be written as a JPEG", where=str(path))
        write_picture(path, data.tobytes())
