"""What an evaluation needs to know of a data set: the sequences, the given masks, and how it is scored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vidseg.errors import InputError
from vidseg.eval.anchors import Anchor
from vidseg.pipeline.label_png import read_label_png
from vidseg.pipeline.read.folder import list_frames


@dataclass(frozen=True)
class GivenMask:
    """The mask by which the benchmark names an object: that of its first frame."""

    obj_id: int
    """The object's id while tracking, 1 or higher; in label maps the pixel value."""
    name: str
    """The data set's own name of the object."""
    frame_idx: int
    path: Path
    merges_ids: bool = False
    """Everything that is not background is the object (DAVIS 2016)."""


@dataclass(frozen=True)
class SequenceToTrack:
    name: str
    images: Path
    """Folder of the frames."""
    frame_names: list[str]
    """Stems of the frames' files, in order."""
    given: list[GivenMask]
    wanted: list[str]
    """The frames whose masks the benchmark wants, by name."""


@dataclass(frozen=True)
class Submission:
    """How the server wants the zip."""

    top_folder: str | None = None
    """The one folder that holds the sequences; None: they lie at the top."""
    server: str | None = None


@dataclass(frozen=True)
class DataSet:
    name: str
    root: Path
    protocol: str
    """How it is scored."""
    sequences: list[SequenceToTrack]
    truth: Path | None
    """The folder to score against; None where the ground truth is not public."""
    meta: Path | None = None
    has_mask_per_object: bool = False
    """Objects overlap: a binary mask for each (SA-V)."""
    submission: Submission | None = None
    """None where nothing is submitted."""
    published: Sequence[Anchor] = ()
    """Figures of known trackers on the whole set, to compare with."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the scores should know of the folder; they go on the run card."""


Kind = Literal["folder", "file"]


def need(root: Path, places: Mapping[str, Kind], *, data_set: str, source: str) -> None:
    """Check a data set's folder.

    Args:
        places: what must be there, below `root`.
        source: where to get the data set.

    Raises:
        InputError: says what is missing.
    """
    if not root.is_dir():
        raise InputError(f"--root '{root}' is not a folder", hint=_where_to_get(data_set, source))
    if missing := _missing(root, places):
        below = next((folder for folder in sorted(root.iterdir()) if not _missing(folder, places)), None)
        raise InputError(
            f"'{root}' is no complete {data_set}: it lacks {', '.join(missing)}",
            hint=f"is it --root '{below}'?" if below else _where_to_get(data_set, source),
        )


def _missing(root: Path, places: Mapping[str, Kind]) -> list[str]:
    return [
        place
        for place, kind in places.items()
        if not ((root / place).is_dir() if kind == "folder" else (root / place).is_file())
    ]


def _where_to_get(data_set: str, source: str) -> str:
    return f"{data_set} is to be had at {source}" if source.startswith("http") else source


def first_existing(root: Path, names: Iterable[str]) -> Path:
    """The first of some folders below `root` that is there; `root` itself where none is."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def frame_names_of(images: Path, *, data_set: str, source: str) -> list[str]:
    """Stems of a sequence's frames.

    Raises:
        InputError: the folder is missing or empty.
    """
    if not images.is_dir():
        raise InputError(
            f"the frames of '{images.name}' are missing",
            where=str(images),
            hint=_where_to_get(data_set, source),
        )
    return [path.stem for path in list_frames(images)]


def check_has_all(what: str, there: Iterable[str], wanted: Iterable[str], *, where: Path) -> None:
    """Refuse a sequence with holes before hours are spent on it.

    Args:
        what: is missing: 'frames' or 'masks'.

    Raises:
        InputError: something wanted is not there; names the first.
    """
    there = set(there)
    missing = [name for name in wanted if name not in there]
    if missing:
        raise InputError(
            f"the sequence '{where.name}' lacks {len(missing)} {what}, first '{missing[0]}'",
            where=str(where),
            hint="unpack the data set again",
        )


def mask_files(folder: Path) -> list[Path]:
    """The PNG files in a folder, in order of their names; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(folder / name for name in os.listdir(folder) if name.endswith(".png") and name[0] != ".")


def first_masks(
    masks: Sequence[Path], frame_names: Sequence[str], *, only: Iterable[int] | None = None
) -> list[GivenMask]:
    """The first mask of every object in a sequence's label maps.

    Args:
        only: the ids to look for; all that occur where it is not given.

    Raises:
        InputError: a mask has no frame, or an object that is looked for has no mask.
    """
    place = {name: i for i, name in enumerate(frame_names)}
    sought = None if only is None else set(only)
    found: dict[int, GivenMask] = {}
    for path in masks:
        if path.stem not in place:
            raise InputError(f"the mask '{path.name}' has no frame", where=str(path.parent))
        for obj_id in ids_in(path):
            if obj_id not in found and (sought is None or obj_id in sought):
                found[obj_id] = GivenMask(obj_id, str(obj_id), place[path.stem], path)
        if sought is not None and len(found) == len(sought):
            break
    if sought is not None and len(found) < len(sought):
        missing = sorted(sought - set(found))
        raise InputError(f"no mask shows object {missing[0]}", where=str(masks[0].parent) if masks else None)
    return [found[obj_id] for obj_id in sorted(found)]


def ids_in(path: Path) -> list[int]:
    """The objects in a label map; 255 is void."""
    counts = np.bincount(read_label_png(path).ravel(), minlength=256)
    return [int(i) for i in np.flatnonzero(counts[1:255]) + 1]
