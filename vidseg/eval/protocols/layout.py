"""Finds masks on disk: `ROOT/SEQUENCE/*.png`, `ROOT/Annotations/SEQUENCE/*.png`, or the layout of DAVIS.

Masks to be scored may also lie as vidseg writes them: in the `masks` of a run, of the runs in a folder, or of
an evaluation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from vidseg.errors import InputError
from vidseg.eval.protocols.contract import SequenceJob
from vidseg.eval.text_file import read_names, read_text
from vidseg.pipeline.run_record import FILE_NAME as RUN_RECORD
from vidseg.pipeline.run_record import describe_video, read_record

RESOLUTIONS = ("480p", "Full-Resolution")
MASKS = "masks"


def prediction_root(folder: Path) -> Path:
    """The folder below which `masks_of` finds the masks to be scored.

    Raises:
        InputError: there is no such folder, or it holds no folders.
    """
    return folder if is_run(folder) else mask_root(folder, "--pred", ("Annotations", MASKS))


def masks_of(root: Path, sequence: str) -> Path:
    """The folder where the masks of a sequence should be; it may not exist.

    Raises:
        InputError: it is that of a run whose masks were corrected since, but not these.
    """
    run = next((folder for folder in (root, root / sequence) if is_run(folder)), None)
    if run is None:
        return root / sequence
    _check_current(run)
    return run / MASKS


def is_run(folder: Path) -> bool:
    """Whether `vidseg track` has written masks into a folder."""
    return (folder / RUN_RECORD).is_file() and (folder / MASKS).is_dir()


def _check_current(run: Path) -> None:
    """Raise an `InputError` for the pictures of a run that was annotated, unless they show its masks."""
    try:
        record = json.loads((run / RUN_RECORD).read_text(encoding="utf-8"))
        is_outdated = "annotation" in record and "png" not in record["options"]["format"].split(",")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # no record of a run of vidseg
    if is_outdated:
        raise InputError(
            "the masks are not those of the run, which was annotated since they were written",
            where=str(run / MASKS),
            hint="track from its prompts.json into another folder, and score that",
        )


def sequence_of_run(run: Path, truth: Path) -> str:
    """The sequence of the ground truth that a run tracked.

    It has the name of the run's video or folder, or it is the only one.

    Raises:
        InputError: there is no such sequence.
    """
    known = sequence_names(mask_root(truth, "--gt", ("Annotations", "Annotations_unsupervised")))
    video = describe_video(read_record(run / RUN_RECORD), run).name
    for name in (video, run.resolve().name):
        if name in known:
            return name
    if len(known) == 1:
        return known[0]
    raise InputError(
        f"the run is of '{video}', which is none of the {len(known)} sequences of the ground truth",
        where=str(run),
        hint="give as --pred a folder with a folder of masks for each sequence",
    )


def mask_root(folder: Path, what: str, annotations: Sequence[str] = ("Annotations",)) -> Path:
    """The folder that holds the sequences' folders.

    Args:
        what: "--gt" or "--pred", for messages.
        annotations: names of the folder of annotations, the preferred one first.

    Raises:
        InputError: there is no such folder, or it holds no folders.
    """
    if not folder.is_dir():
        raise InputError(f"{what} '{folder}' is not a folder")
    places = [folder / name / resolution for name in annotations for resolution in RESOLUTIONS]
    places += [folder / name for name in annotations]
    for place in [*places, folder]:
        if place.is_dir() and sequence_names(place):
            return place
    raise InputError(
        f"{what} '{folder}' holds no sequences",
        hint="give the folder of the sequences' folders of PNG masks, or the one with Annotations in it",
    )


def sequence_names(root: Path) -> list[str]:
    """Names of the folders in a folder, in order."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def mask_names(folder: Path) -> list[str]:
    """Names of the PNG files in a folder, in order."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.name.endswith(".png") and not e.name.startswith("."))


def set_list(folder: Path, places: Iterable[str]) -> list[str] | None:
    """The sequences in a DAVIS folder's list; None if there is no such list.

    The list of DAVIS 2016 names every frame: /JPEGImages/480p/SEQUENCE/00000.jpg /Annotations/480p/...
    """
    for place in places:
        path = folder / "ImageSets" / place
        if path.is_file():
            lines = read_names(path)
            names = (Path(line.split()[0]).parent.name if "/" in line else line for line in lines)
            return list(dict.fromkeys(names))
    return None


def jobs_of_folders(
    truth: Path,
    prediction: Path,
    names: Sequence[str] | None = None,
    *,
    only: Collection[str] | None = None,
    about: dict[str, Any] | None = None,
) -> list[SequenceJob]:
    """A job for each sequence: all folders under `truth`, or those named.

    Args:
        only: names of the only sequences to score; None: all.
        about: name -> what the meta file says about the sequence.

    Raises:
        InputError: a sequence is missing on either side, or has no masks.
    """
    names = sequence_names(truth) if names is None else names
    names = [name for name in names if only is None or name in only]
    missing = [name for name in names if not masks_of(prediction, name).is_dir()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} sequences have no masks to score: {', '.join(missing[:5])}"
            + (" ..." if len(missing) > 5 else ""),
            where=str(prediction),
            hint="write a folder of masks for each sequence of the ground truth",
        )
    return [
        SequenceJob(
            name, truth / name, masks_of(prediction, name), frames_of(truth / name), (about or {}).get(name)
        )
        for name in names
    ]


def frames_of(folder: Path) -> list[str]:
    """The annotated frames of a sequence.

    Raises:
        InputError: there are none.
    """
    frames = mask_names(folder) if folder.is_dir() else []
    if not frames:
        raise InputError(f"the sequence '{folder.name}' has no ground-truth masks", where=str(folder))
    return frames


def meta_beside(folder: Path, name: str) -> Path:
    """The path of a data set's meta file, in its folder, even if the folder of annotations was given."""
    above = folder.parent / name
    return above if folder.name == "Annotations" and above.is_file() else folder / name


def read_meta(path: Path, *, needed_for: str) -> dict[str, Any]:
    """The `videos` of a meta file: sequence -> what it says about it.

    Raises:
        InputError: the file is missing, or of another form.
    """
    try:
        document = json.loads(read_text(path))
    except FileNotFoundError:
        raise InputError(
            f"{needed_for} needs the data set's '{path.name}'",
            where=str(path.parent),
            hint="put it beside the Annotations folder, or name it with --meta",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the meta file cannot be read ({error})", where=str(path)) from None
    videos = document.get("videos") if isinstance(document, dict) else None
    if not isinstance(videos, dict) or not videos or not all(isinstance(v, dict) for v in videos.values()):
        raise InputError("the meta file has no 'videos'", where=str(path))
    return videos
