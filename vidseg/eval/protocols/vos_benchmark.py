"""vos-benchmark (hkchengrex/vos-benchmark) and the SA-V evaluator (facebookresearch/sam2, sav_dataset).

An object is any value that occurs, in any order and with gaps (255 too). It counts from the first scored
frame on which it is seen in ground truth or prediction. Ids that are never annotated are dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vidseg.errors import InputError
from vidseg.eval.metrics import FramePair
from vidseg.eval.metrics.statistics import mean
from vidseg.eval.protocols.contract import (
    Headline,
    Objects,
    ObjectScore,
    ScoringProtocol,
    SequenceJob,
    SequenceScore,
    all_values,
    pair_of,
    read_pair,
)
from vidseg.eval.protocols.layout import (
    frames_of,
    jobs_of_folders,
    mask_root,
    masks_of,
    prediction_root,
    sequence_names,
)
from vidseg.pipeline.label_png import LabelMap, read_label_png


@dataclass(frozen=True)
class VosBenchmark(ScoringProtocol):
    """The protocol of vos-benchmark; see the module."""

    name: str = "vos-benchmark"
    skips_first_and_last: bool = True
    headline: ClassVar[Headline] = Headline(key="J&F", is_percent=True, objects_are_percent=True)

    @property
    def choices(self) -> Mapping[str, bool]:
        return {"skip_first_and_last": self.skips_first_and_last}

    def with_every_frame(self) -> VosBenchmark:
        return replace(self, skips_first_and_last=False)

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        return jobs_of_folders(mask_root(truth, "--gt"), prediction_root(prediction), only=only)

    def score(self, job: SequenceJob) -> SequenceScore:
        seen = _SeenObjects()
        for frame in self._scored_frames(job):
            seen.add(read_pair(job, frame), frame)
        return SequenceScore({str(i): seen.score(i) for i in sorted(seen.annotated)})

    def total(self, objects: Objects) -> dict[str, float]:
        j, f = mean(all_values(objects, "J")), mean(all_values(objects, "F"))
        return {"J&F": (j + f) / 2, "J": j, "F": f}

    def _scored_frames(self, job: SequenceJob) -> list[str]:
        return job.frames[1:-1] if self.skips_first_and_last else job.frames


@dataclass(frozen=True)
class Sav(VosBenchmark):
    """SA-V: a folder of masks for each object, `VIDEO/OBJECT/00000.png`; anything above 0 is the object.

    Only annotated frames count (every fourth of 24 a second); other masks are ignored. Folders in the layout
    of DAVIS are scored as by vos-benchmark.
    """

    name: str = "sav"

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        true_root, root = mask_root(truth, "--gt"), prediction_root(prediction)
        names = [name for name in sequence_names(true_root) if only is None or name in only]
        if not any(sequence_names(true_root / name) for name in names):
            return jobs_of_folders(true_root, root, only=only)
        jobs = []
        for name in names:
            objects = sequence_names(true_root / name)
            if not objects:
                raise InputError(f"the video '{name}' has no folder of an object", where=str(true_root))
            for obj in objects:
                if not (masks_of(root, name) / obj).is_dir():
                    raise InputError(
                        f"there are no masks of object '{obj}' of '{name}'",
                        where=str(masks_of(root, name)),
                        hint="write a folder of masks for each object of the ground truth",
                    )
            frames = {obj: frames_of(true_root / name / obj) for obj in objects}
            jobs.append(SequenceJob(name, true_root / name, masks_of(root, name), [], frames))
        return jobs

    def score(self, job: SequenceJob) -> SequenceScore:
        if job.about is None:
            return super().score(job)
        return SequenceScore({obj: self._score_object(job, obj) for obj in job.about})

    def _score_object(self, job: SequenceJob, obj: str) -> ObjectScore:
        one = SequenceJob(f"{job.name}/{obj}", job.truth / obj, job.prediction / obj, job.about[obj])
        seen = _SeenObjects()
        for frame in self._scored_frames(one):
            truth, prediction = (_binary(folder / frame) for folder in (one.truth, one.prediction))
            seen.add(pair_of(truth, prediction, one, frame), frame)
        if not seen.annotated:
            raise InputError(
                f"object '{obj}' of '{job.name}' is on none of its scored frames",
                where=str(one.truth),
                hint="the official program stops here; --no-skip scores the first and last frame, too",
            )
        return seen.score(1)


class _SeenObjects:
    """The values of every object from the frame on which it is first seen."""

    def __init__(self) -> None:
        self.annotated: set[int] = set()
        self._values: dict[int, list[tuple[str, float, float]]] = {}

    def add(self, pair: FramePair, frame: str) -> None:
        self.annotated.update(pair.truth_ids)
        for obj_id in {*pair.truth_ids, *pair.prediction_ids}:
            self._values.setdefault(obj_id, [])
        ids = list(self._values)
        for obj_id, j, f in zip(ids, pair.j(ids), pair.f(ids), strict=True):
            self._values[obj_id].append((frame, j, f))

    def score(self, obj_id: int) -> ObjectScore:
        frames, j, f = (list(column) for column in zip(*self._values[obj_id], strict=True))
        values: dict[str, Any] = {"J": 100 * mean(j), "F": 100 * mean(f), "n_frames": len(frames)}
        return ObjectScore(values, {"J_frames": j, "F_frames": f}, frames)


def _binary(path: Path) -> LabelMap:
    mask = read_label_png(path)
    is_object = mask > 0
    if (mask[is_object] != mask.max()).any() and len(np.unique(mask)) > 2:
        raise InputError(
            "the mask has more than one object",
            where=str(path),
            hint="SA-V has a folder for each object, and one object in each mask",
        )
    return is_object.astype(np.uint8)
