"""`masks.tar`: the files that `png` writes, in one. A store counts requests: one, not one for each frame."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from typing import BinaryIO

from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.png import encode_label_png, label_pictures, wants_folders


def write_tar(file: BinaryIO, frames: Iterable[FrameMasks], obj_ids: Iterable[int]) -> None:
    """Write label maps as `masks/00000.png ...`; unpacked, they are as `PngWriter` writes them.

    Args:
        obj_ids: every object that will be in the frames.
    """
    is_per_object = wants_folders(obj_ids)
    for masks in frames:
        for name, picture in label_pictures(masks, is_per_object):
            _add(file, f"masks/{name}", encode_label_png(picture))
    file.write(bytes(2 * tarfile.BLOCKSIZE))


def _add(file: BinaryIO, name: str, data: bytes) -> None:
    # Not by TarFile, which remembers every file that it has written: memory would grow with the video.
    member = tarfile.TarInfo(name)
    member.size = len(data)
    file.write(member.tobuf(tarfile.USTAR_FORMAT))
    file.write(data)
    file.write(bytes(-len(data) % tarfile.BLOCKSIZE))
