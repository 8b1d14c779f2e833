"""What a run has besides its masklets, and what of that is no longer true when a person corrects them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from vidseg.annotation.project import AnnotatedObject
from vidseg.errors import InputError
from vidseg.pipeline import run_record
from vidseg.pipeline.formats import FORMATS, RLE
from vidseg.pipeline.out_folder import OutFolder
from vidseg.pipeline.writers.masklets import FILE_NAME as MASKLETS
from vidseg.pipeline.writers.masklets import read_lines

WITHOUT_MASKS = ("frames",)
WITHOUT_LABELS = (*WITHOUT_MASKS, "png", "alpha", "alpha:prores", "alpha:vp9", "sav", "mot", "tar")
"""Formats that stay true whatever the masks, or the labels, of a run become."""
WITH_COLOURS = ("overlay",)
"""The formats that show people's colours."""


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
        prompted = {
            thing["id"]: thing.get("label") for thing in (record.get("prompts") or {}).get("objects", [])
        }
        labels = {**(record.get("labels") or {}), **prompted}
        looks = (record.get("annotation") or {}).get("looks", [])
        self._labels = {int(obj_id): str(label) for obj_id, label in labels.items() if label}
        self._colours = {int(thing["id"]): str(thing["colour"]) for thing in looks}

    def remove_outdated(self, masklets: Path, things: Sequence[AnnotatedObject]) -> list[str]:
        """Remove the outputs that show other masks, labels or colours than those that the run is to have.

        An object that is hidden in the page is only looked at otherwise, which outdates nothing.

        Returns:
            the names of what was removed; nothing where all is still the same.
        """
        labels = {thing.obj_id: thing.label for thing in things if thing.label}
        # The first colours of a project are nobody's choice: a run has others.
        colours = {thing.obj_id: thing.colour for thing in things}
        are_labels_same = labels == self._labels
        are_colours_same = all(self._colours.get(i, colours[i]) == colours[i] for i in colours)
        self._labels, self._colours = labels, colours
        out = OutFolder(self._folder, earlier=self._record)
        if not out.has_outputs(besides=[MASKLETS, *_outputs_of(WITHOUT_MASKS)]):
            return []
        present = {path.name for path in self._folder.iterdir()}
        if not _are_same(self._folder / MASKLETS, masklets):
            kept = present & _outputs_of(WITHOUT_MASKS)
        elif not are_labels_same:
            kept = present & _outputs_of(WITHOUT_LABELS)
        elif not are_colours_same:
            kept = present - _outputs_of(WITH_COLOURS)
        else:
            return []
        kept = {MASKLETS, *kept}
        removed = out.remove_outputs(besides=kept)
        self.formats = [n for n in self.formats if n == RLE or (n in FORMATS and _outputs_of([n]) <= kept)]
        self.names = [name for name in self.names if name in kept and os.path.lexists(self._folder / name)]
        return removed


def _outputs_of(formats: Sequence[str]) -> set[str]:
    """Names of the files and folders of formats."""
    return {FORMATS.lookup(name).output.rstrip("/") for name in formats}


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
