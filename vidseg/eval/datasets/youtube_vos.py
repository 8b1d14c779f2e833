"""YouTube-VOS 2018 and 2019 val (youtube-vos.org): objects appear later; every fifth frame is wanted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

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
    truth_of,
)
from vidseg.eval.protocols.layout import read_meta

SOURCE = "https://youtube-vos.org/dataset/vos"


def open_youtube_vos(year: int, root: Path) -> DataSet:
    """YouTube-VOS in a folder: `root` is the folder of the set, or the one that holds `valid`.

    All frames are tracked, those of `valid_all_frames` if that lies in the folder or beside it; the frames of
    meta.json are wanted.
    """
    places = [root / "valid_all_frames", root.absolute().parent / "valid_all_frames"]
    root = first_existing(root, ["valid"])
    title = f"YouTube-VOS {year} val"
    need(
        root,
        {"JPEGImages": "folder", "Annotations": "folder", "meta.json": "file"},
        data_set=title,
        source=SOURCE,
    )
    all_frames = next((place for place in places if (place / "JPEGImages").is_dir()), None)
    images = (all_frames or root) / "JPEGImages"
    videos = read_meta(root / "meta.json", needed_for=title)
    sequences = [_sequence(root, images, name, about, title) for name, about in videos.items()]
    has_truth, notes = truth_of(sequences, root / "Annotations")
    if all_frames is None:
        notes.append("tracked on every fifth frame: there is no valid_all_frames")
    servers = {2018: "CodaLab 7685 (was 19544)", 2019: "CodaLab 6066 (was 20127)"}
    return DataSet(
        f"ytvos{year}",
        root,
        "ytvos",
        sequences,
        root if has_truth else None,
        meta=root / "meta.json",
        submission=Submission("Annotations", servers[year]),
        published=ANCHORS[f"ytvos{year}"],
        notes=notes,
    )


open_ytvos2018 = partial(open_youtube_vos, 2018)
open_ytvos2019 = partial(open_youtube_vos, 2019)


def open_ytvos(root: Path) -> DataSet:
    """A set in YouTube-VOS's layout, of whatever year; its protocol is the same."""
    data = open_ytvos2019(root)
    return replace(data, name="ytvos", submission=Submission("Annotations"), published=[])


def _sequence(root: Path, images: Path, name: str, about: dict[str, Any], title: str) -> SequenceToTrack:
    frames = frame_names_of(images / name, data_set=title, source=SOURCE)
    place = {frame: i for i, frame in enumerate(frames)}
    given, wanted = [], set()
    try:
        objects = {
            int(obj): [str(f) for f in of.get("frames") or [of["first_frame"]]]
            for obj, of in about["objects"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InputError(f"meta.json gives no frames of the objects of '{name}'", where=str(root)) from None
    for obj, on_frames in objects.items():
        path = root / "Annotations" / name / f"{on_frames[0]}.png"
        if on_frames[0] not in place or not path.is_file():
            raise InputError(
                f"object {obj} of '{name}' starts on frame {on_frames[0]}, which has no picture or mask",
                where=str(path),
            )
        given.append(GivenMask(obj, str(obj), place[on_frames[0]], path))
        wanted.update(on_frames)
    check_has_all("frames", frames, sorted(wanted), where=images / name)
    annotated = {path.stem for path in mask_files(root / "Annotations" / name)}
    return SequenceToTrack(
        name, images / name, frames, given, [f for f in frames if f in wanted or f in annotated]
    )
