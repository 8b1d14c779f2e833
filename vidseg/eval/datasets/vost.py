"""VOST val (TRI-ML/VOST): objects that change their shape; 5 frames a second, all annotated."""

from __future__ import annotations

from pathlib import Path

from vidseg.errors import InputError
from vidseg.eval.datasets.contract import (
    DataSet,
    SequenceToTrack,
    check_has_all,
    first_masks,
    frame_names_of,
    mask_files,
    need,
)
from vidseg.eval.text_file import read_names

SOURCE = "https://www.vostdataset.org"


def open_vost(root: Path) -> DataSet:
    """The val set of VOST in a folder."""
    need(
        root,
        {"JPEGImages": "folder", "Annotations": "folder", "ImageSets/val.txt": "file"},
        data_set="VOST",
        source=SOURCE,
    )
    sequences = []
    for name in read_names(root / "ImageSets/val.txt"):
        frames = frame_names_of(root / "JPEGImages" / name, data_set="VOST", source=SOURCE)
        masks = mask_files(root / "Annotations" / name)
        wanted = [path.stem for path in masks]
        check_has_all("frames", frames, wanted, where=root / "JPEGImages" / name)
        given = first_masks(masks[:1], frames)
        if not given:
            raise InputError(f"'{name}' has no mask to start from", where=str(root / "Annotations" / name))
        sequences.append(SequenceToTrack(name, root / "JPEGImages" / name, frames, given, wanted))
    return DataSet("vost", root, "vost", sequences, root)
