"""Writes the zip that a benchmark's server takes, and checks it as the server would.

It holds one indexed PNG with 8 bits for every wanted frame, value = object id, at the frame's own size.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np

from vidseg.errors import InputError
from vidseg.eval.datasets.contract import DataSet, SequenceToTrack
from vidseg.pipeline.atomic import PART

FILE_NAME = "submission.zip"


def write_submission(data: DataSet, masks: Path, path: Path) -> None:
    """Zip the masks of all sequences, and check the zip.

    Raises:
        InputError: the masks are not what the server takes; no zip is written then.
    """
    assert data.submission is not None
    part = path.with_name(path.name + PART)
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed already
            for sequence in data.sequences:
                for name in sequence.wanted:
                    # Without time and rights of the file, the same masks always make the same zip.
                    entry = zipfile.ZipInfo(_entry(data, sequence, name))
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, (masks / sequence.name / f"{name}.png").read_bytes())
        check_submission(data, part)
        os.replace(part, path)
    except FileNotFoundError as error:
        raise InputError(f"the mask '{error.filename}' is missing: there is no zip to submit") from None
    finally:
        part.unlink(missing_ok=True)


def check_submission(data: DataSet, path: Path) -> None:
    """Read a zip as the server of a benchmark would.

    Raises:
        InputError: a mask is missing, surplus, no indexed PNG, of another size, or has other ids.
    """
    from PIL import Image

    with zipfile.ZipFile(path) as archive:
        entries = {name for name in archive.namelist() if not name.endswith("/")}
        expected = {_entry(data, s, name): s for s in data.sequences for name in s.wanted}
        missing, surplus = sorted(set(expected) - entries), sorted(entries - set(expected))
        if missing:
            raise InputError(f"the zip lacks {len(missing)} masks, first '{missing[0]}'", where=str(path))
        if surplus:
            raise InputError(f"the zip holds '{surplus[0]}', which is no wanted mask", where=str(path))
        sizes: dict[str, tuple[int, int]] = {}
        for name, sequence in expected.items():
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                if picture.format != "PNG" or picture.mode != "P":
                    raise InputError(f"'{name}' is no indexed PNG ({picture.format}, {picture.mode})")
                if sequence.name not in sizes:
                    sizes[sequence.name] = _frame_size(sequence)
                if picture.size != sizes[sequence.name]:
                    raise InputError(f"'{name}' is {picture.size}, its frame {sizes[sequence.name]}")
                ids = set(np.unique(np.asarray(picture)).tolist()) - {0}
            unknown = ids - _allowed(data, sequence)
            if unknown:
                raise InputError(
                    f"'{name}' has the id {min(unknown)}, which is no object of '{sequence.name}'"
                )


def _allowed(data: DataSet, sequence: SequenceToTrack) -> set[int]:
    """The ids that masks may have: those of given objects, or the numbers of proposals."""
    if data.max_proposals is not None:
        return set(range(1, data.max_proposals + 1))
    return {given.obj_id for given in sequence.given}


def _entry(data: DataSet, sequence: SequenceToTrack, frame: str) -> str:
    top = data.submission.top_folder if data.submission else None
    return "/".join([*([top] if top else []), sequence.name, f"{frame}.png"])


def _frame_size(sequence: SequenceToTrack) -> tuple[int, int]:
    """Width and height of a sequence's frames."""
    from PIL import Image

    from vidseg.pipeline.read.folder import list_frames

    with Image.open(list_frames(sequence.images)[0]) as picture:
        return picture.size
