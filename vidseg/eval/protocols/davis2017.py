"""DAVIS 2017, semi-supervised (davisvideochallenge/davis2017-evaluation), and DAVIS 2016 on top of it.

The first and the last frame do not count. The objects are 1 to the highest id of the first frame, gaps
included; ids that come up later are no objects; a prediction with a higher id is refused. Void pixels are
background.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from vidseg.errors import InputError
from vidseg.eval.metrics import statistics
from vidseg.eval.protocols.contract import (
    Headline,
    Objects,
    ObjectScore,
    ScoringProtocol,
    SequenceJob,
    SequenceScore,
    all_values,
    first_and_last_left_out,
    pair_of,
    read_pair,
    without_void,
)
from vidseg.eval.protocols.layout import jobs_of_folders, mask_root, prediction_root, set_list
from vidseg.pipeline.label_png import LabelMap, read_label_png

DAVIS_HEADLINE = Headline(key="J&F-Mean", object_keys=("J_mean", "F_mean"))


@dataclass(frozen=True)
class Davis2017(ScoringProtocol):
    """The semi-supervised protocol of DAVIS 2017; see the module."""

    name: str = "davis2017"
    headline: ClassVar[Headline] = DAVIS_HEADLINE
    lists: ClassVar[tuple[str, ...]] = ("2017/val.txt",)

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        names = set_list(truth, self.lists)
        return jobs_of_folders(mask_root(truth, "--gt"), prediction_root(prediction), names, only=only)

    def score(self, job: SequenceJob) -> SequenceScore:
        frames = first_and_last_left_out(job)
        count = int(without_void(read_label_png(job.truth / job.frames[0])).max())
        ids = range(1, count + 1)
        j, f = np.zeros((2, count, len(frames)))
        for i, frame in enumerate(frames):
            pair = read_pair(job, frame, is_void_kept=False)
            refuse_ids_above(count, pair.prediction_ids, job, frame, "objects in the first frame")
            j[:, i], f[:, i] = pair.j(ids), pair.f(ids)
        return SequenceScore(
            {
                str(obj_id): davis_score(
                    frames,
                    j[obj_id - 1],
                    f[obj_id - 1],
                    {
                        "decay_no_wrap_J": statistics.decay(j[obj_id - 1], wrap=False),
                        "decay_no_wrap_F": statistics.decay(f[obj_id - 1], wrap=False),
                    },
                )
                for obj_id in ids
            }
        )

    def total(self, objects: Objects) -> dict[str, float]:
        return davis_total(objects)


@dataclass(frozen=True)
class Davis2016(Davis2017):
    """One object: whatever is not background, in ground truth and prediction."""

    name: str = "davis2016"
    lists: ClassVar[tuple[str, ...]] = ("2016/val.txt", "480p/val.txt")

    def score(self, job: SequenceJob) -> SequenceScore:
        frames = first_and_last_left_out(job)
        ids = [1] if _foreground(job.truth / job.frames[0]).any() else []
        j, f = [], []
        for frame in frames:
            truth, prediction = (_foreground(folder / frame) for folder in (job.truth, job.prediction))
            pair = pair_of(truth, prediction, job, frame)
            refuse_ids_above(len(ids), pair.prediction_ids, job, frame, "objects in the first frame")
            j += pair.j(ids)
            f += pair.f(ids)
        return SequenceScore({"1": davis_score(frames, np.asarray(j), np.asarray(f))} if ids else {})


def davis_score(
    frames: list[str], j: np.ndarray, f: np.ndarray, more: dict[str, float] | None = None
) -> ObjectScore:
    """The numbers that DAVIS computes for one object: mean, recall and decay of J and of F."""
    values = {
        f"{name}_{what}": measure(of)
        for name, of in (("J", j), ("F", f))
        for what, measure in (
            ("mean", statistics.mean),
            ("recall", statistics.recall),
            ("decay", statistics.decay),
        )
    }
    return ObjectScore(
        {**values, **(more or {})}, {"J_frames": j.tolist(), "F_frames": f.tolist()}, list(frames)
    )


def davis_total(objects: Objects) -> dict[str, float]:
    """Means over all objects of the set; every object weighs the same, whatever its sequence."""
    means = {
        f"{name}-{what.title()}": statistics.mean(all_values(objects, f"{name}_{what}"))
        for name in "JF"
        for what in ("mean", "recall", "decay")
    }
    return {"J&F-Mean": (means["J-Mean"] + means["F-Mean"]) / 2, **means}


def refuse_ids_above(highest: int, ids: list[int], job: SequenceJob, frame: str, what: str) -> None:
    """Raise an `InputError` if a label map holds an id above the highest one."""
    if ids and ids[-1] > highest:
        raise InputError(
            f"the mask has the id {ids[-1]}, but there are {highest} {what}",
            where=str(job.prediction / frame),
            hint="number objects as in the first frame's ground truth",
        )


def _foreground(path: Path) -> LabelMap:
    return (read_label_png(path) > 0).astype(np.uint8)
