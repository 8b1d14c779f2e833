"""A finished masklets.jsonl and facts about its video, from which exchange formats are made."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from vidseg.errors import InputError
from vidseg.pipeline.writers.masklets import MaskletsLine, ObjectLine, Rle, read_lines
from vidseg.pipeline.writers.rle import check_rle, decode_rle

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NO_LABEL = "object"
"""Category of objects without a label, as every format wants one."""


def open_text(path: Path) -> TextIO:
    """Open a text file to write. Lone surrogates, in names that are not UTF-8, are escaped as in JSON."""
    return open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n")


@dataclass(frozen=True, kw_only=True)
class VideoDescription:
    """Facts about a video that formats contain besides its masks."""

    name: str
    size_hw: tuple[int, int]
    labels: Mapping[int, str]
    """Object id -> label, '' for none; for every object known when the run starts."""
    found_labels: Mapping[int, str] = field(default_factory=dict)
    """Labels of objects that a detector finds on the way; they may grow in number while writers hold this."""
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    """R G B of objects to which people gave colours, for pictures."""
    unpainted: Collection[int] = ()
    """Objects that people hid, which are left out of pictures."""
    frame_rate: Fraction | None = None
    num_frames: int | None = None
    """Number of frames of the whole video; None: the last frame of the masklets is taken for the last one."""
    frame_files: Sequence[str] | None = None
    """Names of the frames in a folder of frames."""
    video_file: str | None = None
    """Name of the video file; None if the source is none."""
    frames_folder: str = "frames"
    """Where the frames' pictures are, seen from the folder that holds this video and others: a folder of
    frames by its own name; of other sources, `--format frames` writes them to RUN/frames."""

    def label(self, obj_id: int) -> str:
        return self.all_labels.get(obj_id) or NO_LABEL

    @property
    def all_labels(self) -> Mapping[int, str]:
        """Labels of prompted and of found objects, as they are now and will be."""
        # Nothing is written here: a ChainMap takes mutable mappings only because it could be.
        return ChainMap(self.found_labels, self.labels)  # type: ignore[arg-type]

    def frame_name(self, frame_idx: int) -> str:
        """The name of a frame's picture, without suffix; of videos five digits, as DAVIS and SA-V have it."""
        if self.frame_files is not None and frame_idx < len(self.frame_files):
            return Path(self.frame_files[frame_idx]).stem
        return f"{frame_idx:05d}"

    def frame_file(self, frame_idx: int) -> str:
        """The name of a frame's picture: the folder's own, or what `--format frames` writes."""
        if self.frame_files is not None and frame_idx < len(self.frame_files):
            return self.frame_files[frame_idx]
        return f"{self.frame_name(frame_idx)}.jpg"

    def frame_idx(self, name: str) -> int | None:
        """The frame whose `frame_name` this is; None where there is none."""
        if self.frame_files is None:
            number = int(name) if name.isascii() and name.isdecimal() else -1
            return number if number >= 0 and self.frame_name(number) == name else None
        return self._frames_by_name.get(name)

    @cached_property
    def _frames_by_name(self) -> dict[str, int]:
        return {self.frame_name(frame_idx): frame_idx for frame_idx in range(len(self.frame_files or []))}


@dataclass(frozen=True, kw_only=True)
class Masklets:
    """A finished masklets.jsonl, with facts that are needed before its lines are read again."""

    path: Path
    video: VideoDescription
    obj_ids: list[int]
    """Every object, in rising order."""
    num_frames: int
    """Number of frames of the video: indices run from 0, even if tracking started later."""
    num_lines: int
    """Number of frames in the file."""

    @classmethod
    def survey(cls, path: Path, video: VideoDescription) -> Masklets:
        """Read the file once.

        Raises:
            InputError: see `read_lines`; frames that are not in rising order; an RLE that cannot be decoded,
                or a mask that is not of the video's size. Some formats would pass these on.
        """
        obj_ids: set[int] = set()
        last, num_lines = -1, 0
        for line in read_lines(path):
            num_lines += 1
            if line.frame <= last:
                raise InputError(
                    f"frame {line.frame} after frame {last}: not in rising order", where=str(path)
                )
            for item in line.objects:
                for rle in (item.rle, *([item.hidden] if item.hidden else [])):
                    _check_rle(rle, video.size_hw, f"{path}, frame {line.frame}, object {item.id}")
                obj_ids.add(item.id)
            last = line.frame
        return cls(
            path=path,
            video=video,
            obj_ids=sorted(obj_ids),
            num_frames=max(last + 1, video.num_frames or 0),
            num_lines=num_lines,
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

    def mask(self, frame_idx: int, item: ObjectLine) -> npt.NDArray[np.bool_]:
        """The bool (H, W) mask of an object on a frame.

        Raises:
            InputError: its RLE does not fill its size.
        """
        try:
            return decode_rle(item.rle.model_dump())
        except InputError as error:
            raise error.at(f"{self.path}, frame {frame_idx}, object {item.id}") from None

    def categories(self) -> dict[str, int]:
        """Label -> category id, from 1 on (tools take 0 for none)."""
        labels = dict.fromkeys(self.video.label(obj_id) for obj_id in self.obj_ids)
        return {label: number for number, label in enumerate(labels, start=1)}


def _check_rle(rle: Rle, size_hw: tuple[int, int], where: str) -> None:
    if tuple(rle.size) != size_hw:
        size = "x".join(map(str, rle.size[::-1]))
        raise InputError(f"a mask of {size} in a video of {size_hw[1]}x{size_hw[0]}", where=where)
    try:
        check_rle(rle.model_dump())
    except InputError as error:
        raise error.at(where) from None
