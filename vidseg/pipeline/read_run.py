"""Reads a finished run back as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import InputError
from vidseg.pipeline import run_record
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.masklets import FILE_NAME as MASKLETS
from vidseg.pipeline.writers.masklets import read_masklets

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Run:
    """What `vidseg track` left in a folder. Iterating gives its frames one at a time, in their order:

    for frame in vidseg.read_run("runs/video"):
        frame.frame_idx, frame.pts_seconds, frame.obj_ids
        frame.masks  # bool (N, H, W); an absent object's mask is empty
        frame.scores  # (N,), 0 to 1
        frame.boxes  # (x, y, w, h) of each mask
        frame.label_map()  # int32 (H, W)
    """

    folder: Path
    record: Mapping[str, Any]
    """The contents of run.json."""
    size_hw: tuple[int, int]
    """Height and width of the video."""
    labels: Mapping[int, str]
    """Object id -> label, '' for none; all objects of the prompts, in their order, then those found."""

    @property
    def obj_ids(self) -> list[int]:
        return list(self.labels)

    def __iter__(self) -> Iterator[FrameMasks]:
        return read_masklets(self.folder / MASKLETS, size_hw=self.size_hw)

    def masklet(self, obj_id: int) -> npt.NDArray[np.bool_]:
        """The masks of one object on all frames, bool (T, H, W); T masks of this size are held at once.

        Raises:
            InputError: there is no such object.
        """
        if obj_id not in self.labels:
            raise InputError(f"there is no object {obj_id}", where=str(self.folder), hint=f"{self.obj_ids}")
        nothing = np.zeros(self.size_hw, np.bool_)
        found = [
            frame.masks[frame.obj_ids.index(obj_id)] if obj_id in frame.obj_ids else nothing for frame in self
        ]
        return np.stack(found) if found else np.zeros((0, *self.size_hw), np.bool_)


def read_run(folder: str | PathLike[str]) -> Run:
    """Open the folder of a run with the format `rle` (a default).

    Raises:
        InputError: there is no such run, or it has no masklets.jsonl.
    """
    path = Path(folder)
    if not (path / MASKLETS).is_file():
        raise InputError(
            f"there is no {MASKLETS} in '{path}'",
            hint="give the --out folder of a `vidseg track` run with the format rle (a default)",
        )
    record = run_record.read_finished(path)
    video = run_record.describe_video(record, path)
    found = {obj_id: video.found_labels.get(obj_id, "") for obj_id in record.get("objects", [])}
    labels = {**video.labels, **found, **video.labels}  # in this order; a prompt's label goes first
    return Run(path, record, video.size_hw, labels)
