"""Resizes decoded pictures to a tracker's square input, as SAM 2's own loader of videos does.

That loader (`load_video_frames_from_video_file` in sam2/utils/misc.py) has decord resize while it decodes,
with one bilinear FFmpeg filter from the decoder's samples to RGB. The same filter gives the same numbers
here. Resizing the RGB image instead differs by up to 44 of 255 on real clips.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vidseg.errors import DecodeError
from vidseg.pipeline.read.colours import YCGCO
from vidseg.pipeline.read.orientation import Orientation

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph
    from av.video.format import VideoFormat

# Like decord, make 180 degrees of two quarter turns: only these spread colour out.
_QUARTER_TURNS = {0: (), 90: ("clock",), 180: ("clock", "clock"), 270: ("cclock",)}


class Resizing:
    """Resizes the pictures of one video, turned upright first.

    Args:
        orientation: how stored pictures are turned to be shown.
    """

    def __init__(self, orientation: Orientation) -> None:
        self._orientation = orientation
        self._lock = threading.Lock()
        self._graphs: list[Graph] = []
        self._made_for: tuple[int, int, int, str, int, int] | None = None
        self._num_resized = 0

    def keep(self, picture: VideoFrame, image: npt.NDArray[np.uint8]) -> KeptPicture | None:
        """Keep a picture, with the RGB `image` that `ToRgb` made of it, to be resized when a tracker wants
        it.

        Returns:
            None for colours that FFmpeg's filter does not convert; trackers then resize the image.
        """
        return None if picture.colorspace == YCGCO else KeptPicture(image, picture, self)

    def resize(self, picture: VideoFrame, side: int) -> npt.NDArray[np.uint8]:
        """The picture as uint8 S x S x 3, RGB, upright; the aspect ratio is not kept.

        Raises:
            DecodeError: FFmpeg's filter refuses the picture, although `ToRgb` could convert it.
        """
        try:
            return self._resize(picture, side)
        except OSError as failure:
            raise DecodeError(
                f"a picture of pixel format {picture.format.name} cannot be resized ({failure.strerror})",
                frames_read=self._num_resized,
            ) from None

    def _resize(self, picture: VideoFrame, side: int) -> npt.NDArray[np.uint8]:
        with self._lock:
            # A filter keeps the colour tags of the pictures before where a picture has none.
            colours = (picture.colorspace, picture.color_range)
            wanted = (side, picture.width, picture.height, picture.format.name, *colours)
            if wanted != self._made_for:
                self._graphs = [self._graph(picture, side, more) for more in self._colour_rows(picture, side)]
                self._made_for = wanted
            resized, *last_row = [_through(graph, picture) for graph in self._graphs]
        for other in last_row:
            resized[-1] = other[-1]
        self._num_resized += 1
        return resized

    def _graph(self, picture: VideoFrame, side: int, more: str) -> Graph:
        from av.filter import Graph

        graph = Graph()
        filters = [
            graph.add_buffer(
                width=picture.width,
                height=picture.height,
                format=picture.format,
                time_base=picture.time_base or Fraction(1, 1000),
            ),
            *(graph.add(name, options) for name, options in self._turns(picture.format)),
            graph.add("scale", f"{side}:{side}:flags=bilinear{more}"),
            graph.add("format", "rgb24"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*filters).configure()
        return graph

    def _colour_rows(self, picture: VideoFrame, side: int) -> list[str]:
        """Options that tell the scaler where rows of colour lie; a second answer is for the last row alone.

        If the height does not change, FFmpeg up to version 7, and so decord, takes colour from half a row
        further down, and that of the last row from the row before. Version 8 must be told to do this.
        """
        import av

        is_turned = self._orientation.rotation_deg in (90, 270)
        height, width = (picture.width, picture.height) if is_turned else (picture.height, picture.width)
        has_half_the_rows = picture.format.chroma_height(64) == 32 and not self._spreads_colour(
            picture.format
        )
        slips = height == side != width and has_half_the_rows
        if not slips or av.library_versions["libswscale"] < (9,):
            return [""]
        return [":in_v_chr_pos=256", ":in_v_chr_pos=512"]

    def _spreads_colour(self, pixels: VideoFormat) -> bool:
        # A quarter turn would swap horizontal and vertical subsampling, so FFmpeg first spreads colour out.
        quarters = _QUARTER_TURNS[self._orientation.rotation_deg]
        return bool(quarters) and pixels.chroma_width(64) != pixels.chroma_height(64)

    def _turns(self, pixels: VideoFormat) -> list[tuple[str, str]]:
        turns = [("hflip", "")] if self._orientation.mirrored else []
        if self._spreads_colour(pixels):
            # By default a newer FFmpeg uses another method than the version in decord.
            turns += [("scale", "flags=bilinear"), ("format", "yuv444p|yuv444p10le|yuv444p12le|yuv444p16le")]
        return turns + [("transpose", turn) for turn in _QUARTER_TURNS[self._orientation.rotation_deg]]


def _through(graph: Graph, picture: VideoFrame) -> npt.NDArray[np.uint8]:
    graph.push(picture)
    resized: VideoFrame = graph.pull()  # type: ignore[assignment]  # a graph of pictures
    return np.ascontiguousarray(resized.to_ndarray())


@dataclass(frozen=True, slots=True, eq=False)
class KeptPicture:
    """A picture that PyAV decoded; see `vidseg.trackers.contract.DecodedPicture`."""

    image: npt.NDArray[np.uint8]
    picture: VideoFrame
    resizing: Resizing

    def resized(self, side: int) -> npt.NDArray[np.uint8]:
        return self.resizing.resize(self.picture, side)
