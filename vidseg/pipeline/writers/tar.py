"""`masks.tar`: the files that `png` writes, in one. A store counts requests: one, not one for each frame."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import BinaryIO

from vidseg.pipeline.writers.finished import Masklets
from vidseg.pipeline.writers.masklets import read_masklets
from vidseg.pipeline.writers.png import label_pictures, wants_folders


def write_tar(path: Path, masklets: Masklets) -> None:
    """Write the label maps; unpacked, they are as `PngWriter` writes them."""
    is_per_object = wants_folders(masklets.video.labels)
    with open(path, "wb") as file:
        for masks in read_masklets(masklets.path, size_hw=masklets.video.size_hw):
            name = masklets.video.frame_name(masks.frame_idx)
            for inner_path, data in label_pictures(masks, name, is_per_object):
                _add(file, f"masks/{inner_path}", data)
        file.write(bytes(2 * tarfile.BLOCKSIZE))


def _add(file: BinaryIO, name: str, data: bytes) -> None:
    # TarFile remembers every file that it has written, so its memory would grow with the video.
    member = tarfile.TarInfo(name)
    member.size = len(data)
    file.write(member.tobuf(tarfile.PAX_FORMAT))
    file.write(data)
    file.write(bytes(-len(data) % tarfile.BLOCKSIZE))
