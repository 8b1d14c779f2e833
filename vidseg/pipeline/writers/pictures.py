"""A folder with one picture per frame, each there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from vidseg.pipeline.atomic import PART
from vidseg.pipeline.writers.finished import VideoDescription


def write_picture(path: Path, data: bytes) -> None:
    """A file that appears whole; not forced to the disk at once, which would cost more than the tracking."""
    part = path.with_name(path.name + PART)
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(data)
    os.replace(part, path)


def resume_pictures(
    folder: Path, suffix: str, video: VideoDescription, is_done: Callable[[int], bool]
) -> int:
    """Keep the pictures of the frames that are done, and of the video's frames no others.

    Args:
        suffix: the pictures' ('.png'); they lie in the folder or in folders below it.

    Returns:
        How many frames were kept.
    """
    kept = set()
    for path in folder.glob("**/*"):
        name = path.name.removesuffix(PART)
        frame_idx = video.frame_idx(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if frame_idx is None or not path.is_file():
            continue  # somebody else's file
        if name == path.name and is_done(frame_idx):
            kept.add(frame_idx)
        else:
            path.unlink()
    return len(kept)


def discard_pictures(folder: Path) -> None:
    """Remove what was not finished."""
    for path in folder.glob(f"**/*{PART}"):
        path.unlink()


class PictureWriter:
    """A base for writers of a picture per frame: each has its final name when its frame is written.

    A subclass names its `folder_name` and `suffix`, and writes by `write_picture`.
    """

    folder_name: ClassVar[str]
    suffix: ClassVar[str]

    def __init__(self, out: Path, video: VideoDescription) -> None:
        self.folder = out / self.folder_name
        self.video = video

    def path_of(self, frame_idx: int) -> Path:
        """The file of a frame's picture."""
        return self.folder / f"{self.video.frame_name(frame_idx)}{self.suffix}"

    def resume(self, is_done: Callable[[int], bool]) -> int:
        return resume_pictures(self.folder, self.suffix, self.video, is_done)

    def sync(self) -> None:
        pass  # every picture has its final name

    def finish(self) -> list[Path]:
        return [self.folder] if self.folder.is_dir() else []

    def discard(self) -> None:
        discard_pictures(self.folder)
