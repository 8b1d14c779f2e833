"""What an evaluation must know about a data set: its sequences, the given masks, and how it is scored."""

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
from vidseg.pipeline.read.folder import list_frames, natural_key


@dataclass(frozen=True)
class GivenMask:
    """The mask on its first frame with which the benchmark names an object."""

    obj_id: int
    """Id of the object in tracking, 1 or higher; in label maps its pixel value."""
    name: str
    """Name of the object in the data set."""
    frame_idx: int
    path: Path
    merges_ids: bool = False
    """Whether everything that is not background is the object (DAVIS 2016)."""


@dataclass(frozen=True)
class SequenceToTrack:
    """A sequence of a data set: its frames, and the masks that name its objects."""

    name: str
    images: Path
    """Folder of the frames."""
    frame_names: list[str]
    """Names of the frames without suffix, in order."""
    given: list[GivenMask]
    wanted: list[str]
    """Names of the frames whose masks the benchmark wants."""


@dataclass(frozen=True)
class Submission:
    """The zip that a server wants."""

    top_folder: str | None = None
    """Folder that holds the sequences; None: they lie at the top."""
    server: str | None = None
    """Where people hand it in, as the site and the number of the competition."""


@dataclass(frozen=True)
class DataSet:
    """A data set in a folder, ready to be tracked and scored."""

    name: str
    root: Path
    protocol: str
    """Name of the scoring protocol."""
    sequences: list[SequenceToTrack]
    truth: Path | None
    """Folder of the ground truth; None if it is not public."""
    meta: Path | None = None
    has_mask_per_object: bool = False
    """Whether objects overlap, and each has a binary mask of its own (SA-V)."""
    max_proposals: int | None = None
    """Objects are not given but found, and so many of them are scored; None: they are given."""
    submission: Submission | None = None
    """The zip that the server wants; None if nothing is submitted."""
    published: Sequence[Anchor] = ()
    """Figures of known trackers on the whole set, for comparison."""
    notes: list[str] = field(default_factory=list)
    """Facts about the folder that readers of the scores should know; the run card shows them."""


Kind = Literal["folder", "file"]


def need(root: Path, places: Mapping[str, Kind], *, data_set: str, source: str) -> None:
    """Check a data set's folder.

    Args:
        places: path below `root` -> what must be there.
        source: address from which the data set can be downloaded.

    Raises:
        InputError: something is missing; the message says what.
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
    """The first of some folders below `root` that exists; `root` itself if none does."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def frame_names_of(images: Path, *, data_set: str, source: str) -> list[str]:
    """Names of a sequence's frames, without suffix.

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
    """Refuse an incomplete sequence before hours are spent on it.

    Args:
        what: what may be missing, for messages: 'frames' or 'masks'.

    Raises:
        InputError: something wanted is missing; the message names the first.
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
    """The PNG files in a folder, in the frames' order; none if there is no folder."""
    if not folder.is_dir():
        return []
    names = [name for name in os.listdir(folder) if name.endswith(".png") and name[0] != "."]
    return [folder / name for name in sorted(names, key=lambda name: (natural_key(name[:-4]), name))]


def truth_of(sequences: Sequence[SequenceToTrack], annotations: Path) -> tuple[bool, list[str]]:
    """Whether every wanted frame of every sequence is annotated; where some sequences are, but not all of
    them, a note says which one is not.

    Args:
        annotations: folder of the sequences' folders of masks.
    """
    missing: dict[str, set[str]] = {}
    has_some = False
    for sequence in sequences:
        masks = {path.stem for path in mask_files(annotations / sequence.name)}
        given = {sequence.frame_names[mask.frame_idx] for mask in sequence.given}
        has_some = has_some or bool(masks - given)
        if lacking := set(sequence.wanted) - masks:
            missing[sequence.name] = lacking
    if not missing:
        return True, []
    name, frames = next(iter(missing.items()))
    note = f"the ground truth is incomplete: {len(missing)} of {len(sequences)} sequences lack masks, first "
    return False, [f"{note}'{name}' that of frame '{min(frames)}'"] if has_some else []


def first_masks(
    masks: Sequence[Path], frame_names: Sequence[str], *, only: Iterable[int] | None = None
) -> list[GivenMask]:
    """The first mask of every object in a sequence's label maps.

    Args:
        only: ids to look for; None: all that occur.

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
    """The ids of the objects in a label map; 255 is void, and no object."""
    counts = np.bincount(read_label_png(path).ravel(), minlength=256)
    return [int(i) for i in np.flatnonzero(counts[1:255]) + 1]
