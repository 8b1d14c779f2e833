"""DAVIS 2016 and 2017 (davischallenge.org): 480p, every frame annotated, objects of the first frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vidseg.errors import InputError
from vidseg.eval.datasets.contract import (
    DataSet,
    GivenMask,
    SequenceToTrack,
    Submission,
    first_masks,
    frame_names_of,
    mask_files,
    need,
)

SOURCE = "https://davischallenge.org"


def open_davis2017(root: Path) -> DataSet:
    return _open(root, "davis2017", "DAVIS 2017", ["ImageSets/2017/val.txt"])


def open_davis2016(root: Path) -> DataSet:
    """Everything that is not background is the one object."""
    data = _open(root, "davis2016", "DAVIS 2016", ["ImageSets/2016/val.txt", "ImageSets/480p/val.txt"])
    merged = [
        replace(s, given=[GivenMask(1, "1", 0, s.given[0].path, merges_ids=True)]) for s in data.sequences
    ]
    return replace(data, sequences=merged)


def _open(root: Path, name: str, title: str, lists: list[str]) -> DataSet:
    listed = next((place for place in lists if (root / place).is_file()), lists[0])
    need(
        root,
        {"JPEGImages/480p": "folder", "Annotations/480p": "folder", listed: "file"},
        data_set=title,
        source=SOURCE,
    )
    sequences: list[SequenceToTrack] = []
    for line in (root / listed).read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        sequence = Path(line.split()[0]).parent.name if "/" in line else line.strip()
        if all(s.name != sequence for s in sequences):  # DAVIS 2016 lists every frame
            sequences.append(_sequence(root, sequence, title))
    return DataSet(name, root, name, sequences, root, submission=Submission(server="CodaLab 6812"))


def _sequence(root: Path, name: str, title: str) -> SequenceToTrack:
    images = root / "JPEGImages/480p" / name
    frames = frame_names_of(images, data_set=title, source=SOURCE)
    masks = mask_files(root / "Annotations/480p" / name)
    if not masks or masks[0].stem != frames[0]:
        raise InputError(
            f"the first frame of '{name}' has no mask", where=str(root / "Annotations/480p" / name)
        )
    given = first_masks(masks[:1], frames) or [GivenMask(1, "1", 0, masks[0])]  # a mask of 0 and 255
    return SequenceToTrack(name, images, frames, given, frames)
