"""MOSE v1 and v2 val (henghuiding/MOSE-api): every frame is wanted; the ground truth is not public."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vidseg.errors import InputError
from vidseg.eval.anchors import ANCHORS
from vidseg.eval.datasets.contract import (
    DataSet,
    SequenceToTrack,
    Submission,
    check_has_all,
    first_existing,
    first_masks,
    frame_names_of,
    mask_files,
    need,
    truth_of,
)
from vidseg.eval.protocols.layout import read_meta, sequence_names

SOURCE = "https://github.com/henghuiding/MOSE-api"


def open_mose(version: int, root: Path) -> DataSet:
    """MOSE in a folder: `root` is the folder of the set, or the one that holds `valid`.

    The official server scores v1. A split of your own, annotated on every frame, is scored as by
    vos-benchmark, without the first and last frame.
    """
    root = first_existing(root, ["valid", "val"])
    title = f"MOSE v{version} val"
    places = {"JPEGImages": "folder", "Annotations": "folder"}
    if version == 2:
        places["meta.json"] = "file"
    need(root, places, data_set=title, source=SOURCE)  # type: ignore[arg-type]
    objects: dict[str, list[int] | None] = dict.fromkeys(sequence_names(root / "JPEGImages"))
    if version == 2:
        videos = read_meta(root / "meta.json", needed_for=title)
        try:
            objects = {name: [int(obj) for obj in about["objects"]] for name, about in videos.items()}
        except (KeyError, TypeError, ValueError):
            raise InputError("meta.json does not list every video's objects", where=str(root)) from None
    sequences = []
    for name, ids in objects.items():
        frames = frame_names_of(root / "JPEGImages" / name, data_set=title, source=SOURCE)
        masks = mask_files(root / "Annotations" / name)
        check_has_all("frames", frames, [path.stem for path in masks], where=root / "JPEGImages" / name)
        given = first_masks(masks, frames, only=ids)
        if not given:
            raise InputError(f"'{name}' has no mask to start from", where=str(root / "Annotations" / name))
        sequences.append(SequenceToTrack(name, root / "JPEGImages" / name, frames, given, frames))
    has_truth, notes = truth_of(sequences, root / "Annotations")
    return DataSet(
        "mose" if version == 1 else "mosev2",
        root,
        "vos-benchmark" if version == 1 else "mosev2",
        sequences,
        root if has_truth else None,
        meta=root / "meta.json" if version == 2 else None,
        published=ANCHORS["mose" if version == 1 else "mosev2"],
        submission=Submission(server="CodaLab 10703" if version == 1 else "Codabench 10062"),
        notes=notes,
    )


open_mosev1 = partial(open_mose, 1)
open_mosev2 = partial(open_mose, 2)
