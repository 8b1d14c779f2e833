"""Cut-outs: the objects on nothing. `alpha/00000.png`, or one video with an alpha channel."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.pictures import PictureWriter, write_picture
from vidseg.pipeline.writers.timed_video import TimedVideo
from vidseg.pipeline.writers.videos import VideoWriter

if TYPE_CHECKING:
    import av
    import numpy.typing as npt

    from vidseg.trackers.contract import Frame

MARGIN_PX = 8
"""How far a video keeps the picture's colours around the objects: black would come in over the edge where a
codec halves the colours' resolution, or a player smooths the alpha."""


class AlphaPngWriter(PictureWriter):
    """One RGBA picture per frame: every object's pixels, and nothing of the rest."""

    name = "alpha"
    folder_name, suffix = "alpha", ".png"

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        import cv2

        if frame.image is None:
            return
        rgba = cut_out(frame.image, masks, margin_px=0)
        bgra = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
        _, data = cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, 2])
        write_picture(self.path_of(frame.index), data.tobytes())


class AlphaVideoWriter(VideoWriter):
    """One video of the cut-outs."""

    name = "alpha"

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        if frame.image is not None:
            self._video.write(cut_out(frame.image, masks, margin_px=MARGIN_PX), frame.pts_seconds)


def prores_writer(out: Path, rate: Fraction | None) -> AlphaVideoWriter:
    """A writer of alpha.mov, for editing."""
    return AlphaVideoWriter(ProResVideo(out / "alpha.mov", rate=rate))


def vp9_writer(out: Path, rate: Fraction | None) -> AlphaVideoWriter:
    """A writer of alpha.webm, for browsers."""
    return AlphaVideoWriter(Vp9Video(out / "alpha.webm", rate=rate))


class ProResVideo(TimedVideo):
    """ProRes 4444 in QuickTime, for editing: uint8 (H, W, 4) RGBA with 16 bits of alpha."""

    container_format = "mov"
    picture_format = "rgba"
    pixel_format = "yuva444p10le"

    def add_stream(self, container: av.container.OutputContainer, height: int, width: int) -> Any:
        stream: Any = container.add_stream("prores_ks", rate=self.rate)
        stream.options = {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
        return stream


class Vp9Video(TimedVideo):
    """VP9 in WebM, which browsers play with its alpha: uint8 (H, W, 4) RGBA."""

    container_format = "webm"
    container_options = {"fflags": "+bitexact"}  # noqa: RUF012 (no random number in the file)
    picture_format = "rgba"
    pixel_format = "yuva420p"
    divides_sides_by = 2

    def add_stream(self, container: av.container.OutputContainer, height: int, width: int) -> Any:
        stream: Any = container.add_stream("libvpx-vp9", rate=self.rate)
        # Frames out of their order (alt-ref) cannot be had with alpha; quality alone decides the bit rate.
        stream.options = {"crf": "24", "b": "0", "auto-alt-ref": "0", "cpu-used": "5", "row-mt": "1"}
        stream.metadata["alpha_mode"] = "1"
        return stream


def cut_out(image: npt.NDArray[np.uint8], masks: FrameMasks, *, margin_px: int) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 4) RGBA: alpha is 255 on every object and 0 elsewhere; colours are not multiplied by it.

    Args:
        image: uint8 (H, W, 3) RGB.
        margin_px: how far around the objects colours are kept; beyond they are 0.
    """
    import cv2

    objects = np.asarray(masks.masks.any(0)).view(np.uint8)
    kept = objects
    if margin_px:
        kept = cv2.dilate(objects, np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8))
    return np.dstack([image * kept[..., None], 255 * objects])
