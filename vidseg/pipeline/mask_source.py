"""Where the masks of prompts come from: PNG files beside a prompt file, and arrays given in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vidseg.errors import PromptError
from vidseg.pipeline.mask_files import MaskFile, read_mask


class MaskSource:
    """Masks by the names that prompts call them; a file is read once, as it may hold several objects.

    Args:
        folder: the folder that file names are relative to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, MaskFile] = {}
        self.files: list[Path] = []
        """The files that were read."""

    def add(self, array: Any) -> str:
        """A name for a mask that is given as it is: bool H x W, or integers H x W, which are object ids.

        Raises:
            PromptError: it is no such array, or nothing is marked in it.
        """
        name = f"mask {len(self._read)}"
        values = np.asarray(array)
        if values.ndim != 2 or not (values.dtype == np.bool_ or np.issubdtype(values.dtype, np.integer)):
            raise PromptError(
                f"a mask of {values.dtype} and shape {values.shape}",
                where="prompts, field 'mask'",
                hint="give bool height x width, integers height x width that are object ids, or a PNG file",
            )
        ids = [int(value) for value in np.unique(values) if value != 0]
        if not ids:
            raise PromptError(
                "the mask is empty",
                where="prompts, field 'mask'",
                hint="mark at least one pixel of the object",
            )
        self._read[name] = MaskFile(values.astype(np.int32), ids, len(ids) > 1, "prompts, field 'mask'")
        return name

    def get(self, name: str, where: str) -> MaskFile:
        """The mask of a name.

        Args:
            where: where it is named, for messages.

        Raises:
            PromptError: see `vidseg.pipeline.mask_files.read_mask`.
        """
        if name not in self._read:
            path = self._folder / name
            self._read[name] = read_mask(path, where)
            self.files.append(path)
        return self._read[name]
