"""LVOS v1 and v2 val (LingyiHongfd/LVOS-api): long videos, objects that appear later, 8-digit names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vidseg.errors import InputError
from vidseg.eval.anchors import ANCHORS
from vidseg.eval.datasets.contract import (
    DataSet,
    GivenMask,
    SequenceToTrack,
    Submission,
    check_has_all,
    first_existing,
    frame_names_of,
    mask_files,
    need,
)
from vidseg.eval.protocols.layout import read_meta
from vidseg.eval.protocols.lvos import frame_ranges, read_unseen, scored_numbers

SOURCE = "https://github.com/LingyiHongfd/LVOS-api"


def open_lvos(version: int, root: Path) -> DataSet:
    """LVOS in a folder: `root` is the folder of the set, or the one that holds `valid`.

    Scoring reads unseen_videos.txt (or unseen.json) beside valid_meta.json.
    """
    root = first_existing(root, ["valid", "val"])
    title = f"LVOS v{version} val"
    need(
        root,
        {"JPEGImages": "folder", "Annotations": "folder", "valid_meta.json": "file"},
        data_set=title,
        source=SOURCE,
    )
    meta = root / "valid_meta.json"
    sequences = []
    has_truth = True
    for name, about in read_meta(meta, needed_for=title).items():
        frames = frame_names_of(root / "JPEGImages" / name, data_set=title, source=SOURCE)
        place = {frame: i for i, frame in enumerate(frames)}
        masks = [mask.stem for mask in mask_files(root / "Annotations" / name)]
        given: list[GivenMask] = []
        scored: set[str] = set()
        for obj, (start, end, count) in frame_ranges(name, about, meta).items():
            path = root / "Annotations" / name / f"{start:08d}.png"
            if path.stem not in place or not path.is_file():
                raise InputError(
                    f"object {obj} of '{name}' has no picture or mask to start from", where=str(path)
                )
            given.append(GivenMask(obj, str(obj), place[path.stem], path))
            scored.update(f"{number:08d}" for number in scored_numbers(start, end, count))
        check_has_all("frames", frames, sorted(scored), where=root / "JPEGImages" / name)
        if set(masks) > {frames[mask.frame_idx] for mask in given}:
            check_has_all("masks", masks, sorted(scored), where=root / "Annotations" / name)
        else:
            has_truth = False
        sequences.append(SequenceToTrack(name, root / "JPEGImages" / name, frames, given, frames))
    if has_truth:
        read_unseen(root)  # fail now if it is missing, not after all is tracked
    return DataSet(
        "lvos" if version == 1 else "lvosv2",
        root,
        "lvos",
        sequences,
        root if has_truth else None,
        meta=meta,
        submission=Submission("Annotations", "CodaLab 8767"),
        published=[] if version == 1 else ANCHORS["lvosv2"],
    )


open_lvosv1 = partial(open_lvos, 1)
open_lvosv2 = partial(open_lvos, 2)
