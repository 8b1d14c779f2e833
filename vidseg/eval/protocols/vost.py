"""VOST (TRI-ML/VOST, evaluation): J as in DAVIS, and the same over the last quarter of the frames.

Ids above the number of objects are dropped, not refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

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
    read_pair,
    without_void,
)
from vidseg.eval.protocols.layout import jobs_of_folders, mask_root, prediction_root, set_list
from vidseg.pipeline.label_png import read_label_png


@dataclass(frozen=True)
class Vost(ScoringProtocol):
    """The protocol of VOST; see the module."""

    name: str = "vost"
    headline: ClassVar[Headline] = Headline(
        key="J-Mean", object_keys=("J_mean",), frame_keys=("J_frames",), measure="J"
    )

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        names = set_list(truth, ["val.txt"])
        return jobs_of_folders(mask_root(truth, "--gt"), prediction_root(prediction), names, only=only)

    def score(self, job: SequenceJob) -> SequenceScore:
        frames = first_and_last_left_out(job)
        count = int(without_void(read_label_png(job.truth / job.frames[0])).max())
        ids = range(1, count + 1)
        j = np.zeros((count, len(frames)))
        for i, frame in enumerate(frames):
            j[:, i] = read_pair(job, frame, is_void_kept=False).j(ids)
        return SequenceScore({str(i): _score(frames, j[i - 1]) for i in ids})

    def total(self, objects: Objects) -> dict[str, float]:
        return {
            f"{name}-{what.title()}": statistics.mean(all_values(objects, f"{name}_{what}"))
            for name in ("J", "J_last")
            for what in ("mean", "recall", "decay")
        }


def _score(frames: list[str], j: np.ndarray) -> ObjectScore:
    last = j[int(0.75 * len(j)) :]
    values: dict[str, float | int | None] = {}
    for name, of in (("J", j), ("J_last", last)):
        values[f"{name}_mean"] = statistics.mean(of)
        values[f"{name}_recall"] = statistics.recall(of)
        values[f"{name}_decay"] = statistics.decay(of)
    return ObjectScore(values, {"J_frames": j.tolist()}, list(frames))
