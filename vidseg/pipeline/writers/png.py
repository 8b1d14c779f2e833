"""`masks/00000.png`: one indexed picture per frame, named as the frame is."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.finished import VideoDescription
from vidseg.pipeline.writers.pictures import PictureWriter, write_picture
from vidseg.trackers.palette import davis_palette

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.trackers.contract import Frame

MAX_LABEL = 254
"""The highest id that a label map holds: DAVIS readers take 255 for void."""


class PngWriter(PictureWriter):
    """One label map per frame, value = object id; with ids over 254, one folder of masks per object.

    Objects that are found on the way may come to such ids later; then label maps have 16 bits.

    Of a folder of frames the masks take the frames' names, as the official exporters do. A frame's file
    appears whole, under its final name, when the frame is written: a run that is cut off leaves the frames it
    got to.
    """

    name = "png"
    folder_name, suffix = "masks", ".png"

    def __init__(self, out: Path, video: VideoDescription) -> None:
        super().__init__(out, video)
        self.is_per_object = wants_folders(video.labels)

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        name = self.video.frame_name(masks.frame_idx)
        for path, data in label_pictures(masks, name, self.is_per_object):
            write_picture(self.folder / path, data)


def wants_folders(obj_ids: Iterable[int]) -> bool:
    """Whether some id of the objects that are known when a run starts is too high for a label map."""
    return max(obj_ids, default=0) > MAX_LABEL


def label_pictures(masks: FrameMasks, name: str, is_per_object: bool) -> Iterator[tuple[str, bytes]]:
    """The PNGs of one frame with their paths: a label map, or a mask for each object in its folder.

    Args:
        name: the frame's, without suffix.
    """
    if is_per_object:
        for obj_id, mask in zip(masks.obj_ids, masks.masks, strict=True):
            yield f"{obj_id}/{name}.png", encode_label_png(mask.view(np.uint8))
    elif max(masks.obj_ids, default=0) > MAX_LABEL:
        yield f"{name}.png", encode_deep_label_png(masks.label_map())
    else:
        yield f"{name}.png", encode_label_png(masks.label_map().astype(np.uint8))


def encode_deep_label_png(label_map: npt.NDArray[np.int32]) -> bytes:
    """int32 (H, W) as a greyscale PNG of 16 bits, for ids that an indexed one cannot hold."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(label_map.astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


def write_label_png(path: Path, label_map: npt.NDArray[np.uint8]) -> None:
    """Write uint8 (H, W) as an indexed PNG with the DAVIS palette, whole or not at all."""
    write_picture(path, encode_label_png(label_map))


def encode_label_png(label_map: npt.NDArray[np.uint8]) -> bytes:
    """uint8 (H, W) as an indexed PNG with the DAVIS palette."""
    from PIL import Image

    picture = Image.fromarray(label_map, mode=None).convert("L")
    picture.putpalette(davis_palette())
    file = io.BytesIO()
    # Runs of equal pixels are all there is in a label map: zlib's run-length strategy is as fast as
    # level 1 and makes half the bytes.
    picture.save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return file.getvalue()
