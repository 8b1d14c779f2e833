"""Formats made from a finished masklets.jsonl: `masklets.<format>.<ext>` for annotation tools, `masks.tar`.

    coco    instances per frame, track ids in `attributes`       nothing of absent objects
    ytvis   YouTube-VIS: one annotation per object, null where absent
    sav     SA-V train: RLEs per frame and object, empty where absent
    cvat    CVAT for video 1.1: RLEs of CVAT's own kind
    mot     MOTChallenge: boxes, 1-based
    tar     the label maps that `png` writes, in one file

Writers read the masklets line by line, in as many passes as the format's order of things wants, and hold no
frame's masks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TextIO

from vidseg.errors import InputError, unknown
from vidseg.pipeline.atomic import PART
from vidseg.pipeline.writers.masklets import (
    MaskletsLine,
    ObjectLine,
    masklets_size,
    read_lines,
    read_masklets,
)

NO_LABEL = "object"
"""The category of objects without a label: every format wants one."""


@dataclass(frozen=True, kw_only=True)
class VideoDescription:
    """What an exchange format says of the video besides its masks."""

    name: str
    size_hw: tuple[int, int]
    labels: Mapping[int, str]
    """Object id -> label, for objects that have one."""
    frame_rate: Fraction | None = None
    num_frames: int | None = None
    """Of the whole video, where it is known; else the masklets' last frame is taken for the last one."""
    frame_names: Sequence[str] | None = None
    """The stems of a folder's frames."""

    def label(self, obj_id: int) -> str:
        return self.labels.get(obj_id) or NO_LABEL

    def frame_name(self, frame_idx: int) -> str:
        """The name of a frame's picture, without suffix; of videos five digits, as DAVIS and SA-V have it."""
        if self.frame_names is not None and frame_idx < len(self.frame_names):
            return self.frame_names[frame_idx]
        return f"{frame_idx:05d}"


@dataclass(frozen=True, kw_only=True)
class Masklets:
    """A finished masklets.jsonl and what there is to know before its lines are read again."""

    path: Path
    video: VideoDescription
    obj_ids: list[int]
    """Every object, in rising order."""
    num_frames: int
    """Frames of the video: indices run from 0, also where tracking started later."""

    @classmethod
    def survey(cls, path: Path, video: VideoDescription) -> Masklets:
        """Read the file once. Raises InputError: see `read_lines`; frames that are not in rising order."""
        obj_ids: set[int] = set()
        last = -1
        for line in read_lines(path):
            if line.frame <= last:
                raise InputError(
                    f"frame {line.frame} after frame {last}: not in rising order", where=str(path)
                )
            obj_ids.update(item.id for item in line.objects)
            last = line.frame
        return cls(
            path=path,
            video=video,
            obj_ids=sorted(obj_ids),
            num_frames=max(last + 1, video.num_frames or 0),
        )

    def __iter__(self) -> Iterator[MaskletsLine]:
        """The file's lines, from the start each time."""
        return read_lines(self.path)

    def every_frame(self) -> Iterator[tuple[int, dict[int, ObjectLine]]]:
        """All frames from 0 to the last, with their objects by id; none on frames not tracked."""
        expected = 0
        for line in self:
            for frame_idx in range(expected, line.frame):
                yield frame_idx, {}
            yield line.frame, {item.id: item for item in line.objects}
            expected = line.frame + 1
        for frame_idx in range(expected, self.num_frames):
            yield frame_idx, {}

    def categories(self) -> dict[str, int]:
        """Label -> category id, from 1 on (tools take 0 for none)."""
        labels = dict.fromkeys(self.video.label(obj_id) for obj_id in self.obj_ids)
        return {label: number for number, label in enumerate(labels, start=1)}


Exchange = Callable[[TextIO, Masklets], None]
"""Writes one format."""


def _coco(file: TextIO, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.coco import write_coco

    write_coco(file, masklets)


def _ytvis(file: TextIO, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.ytvis import write_ytvis

    write_ytvis(file, masklets)


def _sav(file: TextIO, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.sav import write_sav

    write_sav(file, masklets)


def _cvat(file: TextIO, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.cvat import write_cvat

    write_cvat(file, masklets)


def _mot(file: TextIO, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.mot import write_mot

    write_mot(file, masklets)


def _tar(file: TextIO, masklets: Masklets) -> None:
    from vidseg.pipeline.writers.tar import write_tar

    frames = read_masklets(masklets.path, size_hw=masklets.video.size_hw)
    write_tar(file.buffer, frames, masklets.obj_ids)


EXCHANGE_FORMATS: dict[str, tuple[str, Exchange]] = {
    "coco": ("masklets.coco.json", _coco),
    "ytvis": ("masklets.ytvis.json", _ytvis),
    "sav": ("masklets.sav.json", _sav),
    "cvat": ("masklets.cvat.xml", _cvat),
    "mot": ("masklets.mot.txt", _mot),
    "tar": ("masks.tar", _tar),
}
"""Format -> file name, writer."""


def check_exchange_formats(names: Sequence[str]) -> None:
    """Raises InputError for a name that is not in `EXCHANGE_FORMATS`, or none at all."""
    for name in names:
        if name not in EXCHANGE_FORMATS:
            raise InputError(unknown("format", name, EXCHANGE_FORMATS))
    if not names:
        raise InputError("no format is named", hint=f"known formats: {', '.join(EXCHANGE_FORMATS)}")


def convert(path: Path, formats: Sequence[str], out: Path, video: VideoDescription) -> list[Path]:
    """Write a finished masklets.jsonl in other formats; returns the files.

    Raises:
        InputError: see `check_exchange_formats`; a masklets.jsonl that is not one.
    """
    check_exchange_formats(formats)
    if 0 in video.size_hw:
        video = replace(video, size_hw=masklets_size(path))
    masklets = Masklets.survey(path, video)
    done = []
    for name in formats:
        file_name, write = EXCHANGE_FORMATS[name]
        with _whole(out / file_name) as file:
            write(file, masklets)
        done.append(out / file_name)
    return done


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """A text file that gets its name when it is whole, and leaves nothing when it is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{PART}")
    try:
        with open(part, "w", encoding="utf-8", newline="\n") as file:
            yield file
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
