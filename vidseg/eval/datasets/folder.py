"""A data set in any folder with JPEGImages and Annotations, each with a folder for every sequence."""

from __future__ import annotations

from dataclasses import replace
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
from vidseg.eval.protocols.layout import sequence_names

SOURCE = "a folder of frames for each sequence in JPEGImages, one of masks in Annotations; see docs/eval.md"


def open_folder(root: Path) -> DataSet:
    """The data set in a folder. Objects are given by their first mask, on any frame.

    It is scored as by vos-benchmark.
    """
    need(
        root,
        {"JPEGImages": "folder", "Annotations": "folder"},
        data_set="set of sequences",
        source=SOURCE,
    )
    images, annotations = (_sequences_of(root / name) for name in ("JPEGImages", "Annotations"))
    sequences = []
    for name in sequence_names(annotations):
        frames = frame_names_of(images / name, data_set="The layout", source=SOURCE)
        masks = mask_files(annotations / name)
        check_has_all("frames", frames, [path.stem for path in masks], where=images / name)
        given = first_masks(masks, frames)
        if not given:
            raise InputError(f"'{name}' has no mask to start from", where=str(annotations / name))
        sequences.append(SequenceToTrack(name, images / name, frames, given, [path.stem for path in masks]))
    short = [s.name for s in sequences if len(s.wanted) <= 2]  # without the first and the last frame none
    has_truth = len(short) < len(sequences)
    notes = [f"not scored, as they have no more than two masks: {', '.join(short)}"] if short else []
    return DataSet(
        "folder",
        root,
        "vos-benchmark",
        sequences,
        annotations if has_truth else None,
        notes=notes if has_truth else [],
    )


def open_vos_benchmark(root: Path) -> DataSet:
    """The same, by the name of the protocol that scores it."""
    return replace(open_folder(root), name="vos-benchmark")


def _sequences_of(folder: Path) -> Path:
    resolution = next((folder / r for r in ("480p", "Full-Resolution") if (folder / r).is_dir()), None)
    return resolution or folder
