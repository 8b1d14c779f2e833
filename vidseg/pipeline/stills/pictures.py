"""The pictures of a run: one file, or those of a folder, in natural order of their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidseg.errors import SourceError, told
from vidseg.pipeline.read.folder import IMAGE_SUFFIXES, list_frames
from vidseg.pipeline.read.images import read_image


@dataclass(frozen=True)
class Picture:
    """One picture file."""

    path: Path
    number: int
    """Its place among the pictures of the run, from 0; or the number that its name is, where all names are
    different numbers, as in COCO. Files of detections know pictures by it, and it is their id in what is
    written."""
    prompts: Path | None = None
    """The prompt file that is for this picture alone."""

    @property
    def name(self) -> str:
        """The name of what is written of it, without suffix."""
        return self.path.stem

    @property
    def prompts_beside(self) -> Path:
        """Where a prompt file for it would lie: `a.jpg` goes with `a.json`."""
        return self.path.with_suffix(".json")

    def read(self) -> npt.NDArray[np.uint8]:
        """uint8 H x W x 3, RGB, upright.

        Raises:
            SourceError: it cannot be read.
        """
        try:
            return read_image(self.path)
        except Exception as failure:  # on damaged files Pillow may raise anything
            hint = getattr(failure, "hint", "replace the file, or take it out of the folder")
            raise SourceError(
                f"the picture '{self.path}' cannot be read ({told(failure)})", hint=hint
            ) from None


def list_pictures(source: Path) -> list[Picture]:
    """The pictures of a file or a folder.

    Raises:
        SourceError: there is no such file or folder, the file is no picture by its name, or the folder holds
            none.
    """
    if source.is_dir():
        files = list_frames(source)
    elif not source.exists():
        raise SourceError(f"there is no picture or folder '{source}'")
    elif source.suffix.lower() not in IMAGE_SUFFIXES:
        raise SourceError(
            f"'{source}' is no picture by its name",
            hint=f"give a folder, or one of {', '.join(IMAGE_SUFFIXES)}",
        )
    else:
        files = [source]
    numbers = [int(file.stem) for file in files if file.stem.isascii() and file.stem.isdecimal()]
    # 1.jpg and 01.jpg are one number.
    are_numbers = len(files) > 1 and len(set(numbers)) == len(files)
    return [
        Picture(file, number)
        for file, number in zip(files, numbers if are_numbers else range(len(files)), strict=True)
    ]
