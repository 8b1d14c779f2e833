"""What a run has besides its masklets, and what of that is no longer true when a person corrects them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from vidseg.errors import InputError
from vidseg.pipeline import run_record
from vidseg.pipeline.formats import FORMATS, RLE
from vidseg.pipeline.out_folder import OutFolder
from vidseg.pipeline.writers.masklets import FILE_NAME as MASKLETS
from vidseg.pipeline.writers.masklets import read_lines

FRAMES = "frames"
"""The format that shows no masks, so that corrections leave it true."""


class RunOutputs:
    """The outputs of the run that lies in a folder, as its run.json names them.

    Attributes:
        formats: names of the formats.
        names: files and folders in the folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / run_record.FILE_NAME
        self._record = run_record.read_record(path) if path.is_file() else None
        record = self._record or {}
        formats = str((record.get("options") or {}).get("format") or RLE).split(",")
        self.formats = [RLE, *(name for name in formats if name != RLE)]
        self.names = [MASKLETS, *(name for name in record.get("outputs") or [] if name != MASKLETS)]

    def remove_outdated(self, masklets: Path) -> list[str]:
        """Remove the outputs that show other masks than these, which are about to become those of the run.

        Returns:
            the names of what was removed; nothing where the masks are still the same.
        """
        out = OutFolder(self._folder, earlier=self._record)
        kept = (MASKLETS, FORMATS[FRAMES].output.rstrip("/"))
        if not out.has_outputs(besides=kept) or _are_same(self._folder / MASKLETS, masklets):
            return []
        removed = out.remove_outputs(besides=kept)
        self.formats = [name for name in self.formats if name in (RLE, FRAMES)]
        self.names = [name for name in self.names if name in kept and os.path.lexists(self._folder / name)]
        return removed


def _are_same(old: Path, new: Path) -> bool:
    """Whether two files of masklets hold the same masks."""
    try:
        return all(one == other for one, other in zip_longest(_in_sight(old), _in_sight(new)))
    except InputError:  # an old file that is damaged, or not there
        return False


def _in_sight(masklets: Path) -> Iterator[tuple[object, ...]]:
    """Frame, object and mask of every object in sight."""
    for line in read_lines(masklets):
        for item in sorted(line.objects, key=lambda item: item.id):
            if item.area:
                yield line.frame, item.id, item.rle.counts, item.hidden and item.hidden.counts
