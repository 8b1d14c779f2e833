"""MOSEv2 (henghuiding/MOSE-api, MOSEv2/tools/score.py): J, F-dot, disappearance and reappearance.

The first and the last frame do not count. Predictions are paired with ground truth by their order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from vidseg.errors import InputError
from vidseg.eval.metrics.mosev2 import Scores, mosev2_scores
from vidseg.eval.metrics.statistics import mean
from vidseg.eval.protocols.contract import (
    Headline,
    Objects,
    ObjectScore,
    ScoringProtocol,
    SequenceJob,
    SequenceScore,
    all_values,
    first_and_last_left_out,
    object_ids,
    read_pair,
)
from vidseg.eval.protocols.layout import (
    jobs_of_folders,
    mask_names,
    mask_root,
    meta_beside,
    prediction_root,
    read_meta,
    sequence_names,
)


@dataclass(frozen=True)
class Mosev2(ScoringProtocol):
    """The protocol of MOSEv2; see the module."""

    name: str = "mosev2"
    headline: ClassVar[Headline] = Headline(
        key="J&F_dot",
        is_percent=True,
        object_keys=("J", "F_dot"),
        frame_keys=("J_frames", "F_dot_frames"),
        measure="J&F_dot",
    )
    takes_meta: ClassVar[bool] = True

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        meta = meta or meta_beside(truth, "meta.json")
        videos = read_meta(meta, needed_for="mosev2")
        for name, about in videos.items():
            if not isinstance(about.get("objects"), list | dict):
                raise InputError(f"the meta file lists no objects of '{name}'", where=str(meta))
        objects = {name: [str(obj) for obj in about["objects"]] for name, about in videos.items()}
        root = mask_root(truth, "--gt")
        names = sequence_names(root)
        unknown = [name for name in names if name not in objects and (only is None or name in only)]
        if unknown:
            raise InputError(f"the meta file does not know the video '{unknown[0]}'", where=str(meta))
        return jobs_of_folders(root, _predicted(prediction, names), names, only=only, about=objects)

    def score(self, job: SequenceJob) -> SequenceScore:
        predictions = mask_names(job.prediction)
        if len(predictions) != len(job.frames):
            raise InputError(
                f"'{job.name}' has {len(job.frames)} frames, but {len(predictions)} masks",
                where=str(job.prediction),
                hint="write a mask for every frame",
            )
        name_of = dict(zip(job.frames, predictions, strict=True))
        frames = first_and_last_left_out(job)
        names, ids = zip(*object_ids(job, job.about), strict=True) if job.about else ((), ())
        scores: dict[str, list[Scores]] = {name: [] for name in names}
        for frame in frames:
            pair = read_pair(job, frame, other_name=name_of[frame])
            for name, of_object in zip(names, mosev2_scores(pair, ids), strict=True):
                scores[name].append(of_object)
        return SequenceScore({name: _score(frames, of_object) for name, of_object in scores.items()})

    def total(self, objects: Objects) -> dict[str, float]:
        def over_objects(key: str) -> float:
            return 100 * mean(all_values(objects, key))

        j, f_dot, f = over_objects("J"), over_objects("F_dot"), over_objects("F")
        gone = (over_objects("disappear_J") + over_objects("disappear_F_dot")) / 2
        back = (over_objects("reappear_J") + over_objects("reappear_F_dot")) / 2
        return {
            "J&F_dot": (j + f_dot) / 2,
            "J": j,
            "F_dot": f_dot,
            "J&F_dot_disappear": gone,
            "J&F_dot_reappear": back,
            "F": f,
            "J&F": (j + f) / 2,
        }


def _predicted(folder: Path, names: Collection[str]) -> Path:
    """The folder of the videos' folders; as the official program does, a single folder around them is passed
    by."""
    root = prediction_root(folder)
    inside = sequence_names(root)
    return root / inside[0] if len(inside) == 1 and inside[0] not in names else root


def _score(frames: list[str], scores: list[Scores]) -> ObjectScore:
    j, f_dot, f, is_absent = (list(column) for column in zip(*scores, strict=True))
    gone, back = _absences(is_absent), _returns(is_absent)
    values: dict[str, float | int | None] = {"J": mean(j), "F_dot": mean(f_dot), "F": mean(f)}
    for name, runs in (("disappear", gone), ("reappear", back)):
        for key, of in (("J", j), ("F_dot", f_dot)):
            values[f"{name}_{key}"] = mean([mean(of[run]) for run in runs]) if runs else None
    per_frame = {"J_frames": j, "F_dot_frames": f_dot, "F_frames": f, "gt_empty": is_absent}
    return ObjectScore(values, per_frame, list(frames))


def _absences(is_absent: Sequence[bool]) -> list[slice]:
    """Runs of frames without the object; a run that starts at the first scored frame does not count."""
    return [run for absent, run in _runs(is_absent) if absent and run.start > 0]


def _returns(is_absent: Sequence[bool]) -> list[slice]:
    """Runs of frames with the object that follow an absence."""
    return [run for absent, run in _runs(is_absent) if not absent and run.start > 0]


def _runs(values: Sequence[bool]) -> list[tuple[bool, slice]]:
    runs, start = [], 0
    for value, group in groupby(values):
        length = len(list(group))
        runs.append((value, slice(start, start + length)))
        start += length
    return runs
