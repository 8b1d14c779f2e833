"""The contract of a scoring protocol: list the sequences, score one, sum up all.

A protocol computes what one official program does, to the letter. If programs disagree, each is a protocol of
its own, not an option.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from vidseg.errors import InputError
from vidseg.eval.metrics import FramePair
from vidseg.pipeline.label_png import LabelMap, read_label_png


@dataclass(frozen=True)
class SequenceJob:
    """One sequence to be scored; it can be sent to another process."""

    name: str
    truth: Path
    """Folder of the ground-truth masks."""
    prediction: Path
    """Folder of the masks to be scored."""
    frames: list[str]
    """File names of the annotated frames, in order."""
    about: Any = None
    """What the data set's meta file says about the sequence."""


@dataclass(frozen=True)
class ObjectScore:
    """The measurements of one object."""

    values: dict[str, float | int | None]
    """Name that the official program uses -> value; None if it has no number."""
    per_frame: dict[str, list[Any]]
    """Name -> values on the scored frames."""
    frames: list[str]
    """Names of these frames."""


@dataclass(frozen=True)
class SequenceScore:
    """The scores of the objects of one sequence."""

    objects: dict[str, ObjectScore]
    remarks: dict[str, Any] = field(default_factory=dict)
    """Further facts about the sequence, such as which proposal was matched with which object."""


Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Sequence -> object -> values."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The number by which a leaderboard is sorted, and the values that it is the mean of."""

    key: str
    """Its name in what `total` returns."""
    is_percent: bool = False
    """Whether that number is in percent; else it is a share of 1."""
    object_keys: tuple[str, ...] = ("J", "F")
    """Names of the values of an object whose mean is averaged over objects."""
    objects_are_percent: bool = False
    frame_keys: tuple[str, ...] = ("J_frames", "F_frames")
    """Names of the same values of every frame, 0 to 1, in an object's `per_frame`."""
    measure: str = "J&F"
    """Name of the mean of these values."""

    def of_set(self, total: Mapping[str, float | None]) -> float | None:
        """The number of the whole set, in percent; None if there is none."""
        value = total[self.key]
        return None if value is None else value if self.is_percent else 100 * value

    def of_object(self, values: Mapping[str, Any]) -> float:
        """The mean of an object's values, in percent."""
        mean = sum(values[key] for key in self.object_keys) / len(self.object_keys)
        return mean if self.objects_are_percent else 100 * mean


class ScoringProtocol(Protocol):
    """Computes what one official program does. It can be pickled, to be sent to other processes."""

    takes_meta: ClassVar[bool] = False
    """Whether `jobs` reads a meta file, which says more about the sequences."""

    @property
    def name(self) -> str: ...

    @property
    def headline(self) -> Headline: ...

    @property
    def choices(self) -> Mapping[str, bool]:
        """The choices made where the program leaves one; they are reported with the scores."""
        return {}

    def with_every_frame(self) -> ScoringProtocol | None:
        """The same protocol with first and last frame counted; None if the program has no such choice."""
        return None

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        """The sequences to be scored.

        Args:
            only: names of the only sequences to score; None: all.

        Raises:
            InputError: a folder or the meta file is missing or of another layout.
        """
        ...

    def score(self, job: SequenceJob) -> SequenceScore:
        """Score one sequence.

        Raises:
            InputError: the official program would refuse it.
        """
        ...

    def total(self, objects: Objects) -> dict[str, float]:
        """The numbers of the whole set; NaN where there is none."""
        ...


def read_pair(
    job: SequenceJob, frame: str, *, is_void_kept: bool = True, other_name: str | None = None
) -> FramePair:
    """Ground truth and prediction of one frame.

    Args:
        is_void_kept: whether the value 255 of the ground truth, which DAVIS takes out, is kept.
        other_name: file name of the prediction, if it differs.

    Raises:
        InputError: a file is missing or unreadable, or the two differ in size.
    """
    truth = read_label_png(job.truth / frame)
    if not is_void_kept:
        truth = without_void(truth)
    return pair_of(truth, read_label_png(job.prediction / (other_name or frame)), job, frame)


def pair_of(truth: LabelMap, prediction: LabelMap, job: SequenceJob, frame: str) -> FramePair:
    """Ground truth and prediction of one frame; an `InputError` if they differ in size."""
    if truth.shape != prediction.shape:
        (true_h, true_w), (height, width) = truth.shape, prediction.shape
        raise InputError(
            f"the mask is {width}x{height}, its ground truth {true_w}x{true_h}",
            where=str(job.prediction / frame),
            hint="write masks at the size of the original frames",
        )
    return FramePair(truth, prediction)


VOID = 255


def without_void(label_map: LabelMap) -> LabelMap:
    """The label map with 255 turned into background."""
    if not label_map.size or label_map.max() < VOID:
        return label_map
    cleared = label_map.copy()
    cleared[label_map == VOID] = 0
    return cleared


def first_and_last_left_out(job: SequenceJob) -> list[str]:
    """The frames that count: all but the first and the last.

    Raises:
        InputError: there are none.
    """
    scored = job.frames[1:-1]
    if not scored:
        raise InputError(
            f"sequence '{job.name}' has {len(job.frames)} annotated frames, without the first and last none",
            where=str(job.truth),
        )
    return scored


def all_values(objects: Objects, key: str) -> list[float]:
    """The values of all objects under one name, without missing ones."""
    return [v[key] for sequence in objects.values() for v in sequence.values() if v[key] is not None]


def object_ids(job: SequenceJob, names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The objects that a meta file names, with their pixel values."""
    for name in names:
        if not (name.isascii() and name.isdigit() and 1 <= int(name) <= VOID):
            raise InputError(f"object '{name}' of sequence '{job.name}' is no pixel value of 1 to 255")
        yield name, int(name)
