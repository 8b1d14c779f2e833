"""SA-V val and test (Meta): frames at 24 a second, every fourth annotated, a mask for each object."""

from __future__ import annotations

from pathlib import Path

from vidseg.errors import InputError
from vidseg.eval.anchors import ANCHORS
from vidseg.eval.datasets.contract import (
    DataSet,
    GivenMask,
    SequenceToTrack,
    first_existing,
    frame_names_of,
    mask_files,
    need,
)
from vidseg.eval.protocols.layout import sequence_names
from vidseg.eval.text_file import read_names

SOURCE = "https://ai.meta.com/datasets/segment-anything-video"


def open_sav(root: Path) -> DataSet:
    """SA-V in a folder: `root` is sav_val or sav_test, or the folder of one of them.

    Every frame is tracked, at 24 frames a second; only the annotated ones, 6 a second, are scored.
    """
    root = first_existing(root, ["sav_val", "sav_test"])
    need(
        root,
        {"JPEGImages_24fps": "folder", "Annotations_6fps": "folder"},
        data_set="SA-V val or test",
        source=SOURCE,
    )
    annotations = root / "Annotations_6fps"
    listed = next(iter(sorted(root.glob("sav_*.txt"))), None)
    names = read_names(listed) if listed else sequence_names(annotations)
    sequences = [_sequence(root, name) for name in names]
    part = (listed.stem if listed else root.resolve().name).removeprefix("sav_")
    return DataSet(
        "sav",
        root,
        "sav",
        sequences,
        annotations,
        has_mask_per_object=True,
        published=ANCHORS.get(f"sav-{part}", []),  # there are none of a part of one's own
    )


def _sequence(root: Path, name: str) -> SequenceToTrack:
    images, annotations = root / "JPEGImages_24fps" / name, root / "Annotations_6fps" / name
    frames = frame_names_of(images, data_set="SA-V", source=SOURCE)
    if not annotations.is_dir():
        raise InputError(f"the annotations of '{name}' are missing", where=str(annotations))
    place = {frame: i for i, frame in enumerate(frames)}
    given: list[GivenMask] = []
    wanted: set[str] = set()
    for number, obj in enumerate(sequence_names(annotations), start=1):
        masks = mask_files(annotations / obj)
        unknown = [mask.name for mask in masks if mask.stem not in place]
        if not masks or unknown:
            what = f"the mask '{unknown[0]}' has no frame" if unknown else "there are no masks"
            raise InputError(what, where=str(annotations / obj))
        first = next((mask for mask in masks if _shows_something(mask)), None)
        if first is None:
            raise InputError(
                f"object '{obj}' of '{name}' is on none of its masks", where=str(annotations / obj)
            )
        given.append(GivenMask(number, obj, place[first.stem], first, merges_ids=True))
        wanted.update(mask.stem for mask in masks)
    return SequenceToTrack(name, images, frames, given, [frame for frame in frames if frame in wanted])


def _shows_something(path: Path) -> bool:
    from vidseg.pipeline.label_png import read_label_png

    return bool(read_label_png(path).any())
