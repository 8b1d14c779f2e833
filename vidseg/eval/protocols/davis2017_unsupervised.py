"""DAVIS 2017, unsupervised (davisvideochallenge/davis2017-evaluation): proposals are matched with objects.

Every frame counts. Void pixels are left out. Up to 20 proposals; the assignment with the highest sum of
J&F over the sequence decides which proposal is which object, and the others cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from vidseg.eval.metrics.assignment import best_pairs
from vidseg.eval.protocols.contract import (
    VOID,
    Headline,
    Objects,
    ScoringProtocol,
    SequenceJob,
    SequenceScore,
    pair_of,
    without_void,
)
from vidseg.eval.protocols.davis2017 import DAVIS_HEADLINE, davis_score, davis_total, refuse_ids_above
from vidseg.eval.protocols.layout import jobs_of_folders, mask_root, prediction_root, set_list
from vidseg.pipeline.label_png import read_label_png

MAX_PROPOSALS = 20


@dataclass(frozen=True)
class Davis2017Unsupervised(ScoringProtocol):
    """The unsupervised protocol of DAVIS 2017; see the module."""

    name: str = "davis2017-unsupervised"
    headline: ClassVar[Headline] = DAVIS_HEADLINE

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        root = mask_root(truth, "--gt", ("Annotations_unsupervised", "Annotations"))
        names = set_list(truth, ["2017/val.txt"])
        return jobs_of_folders(root, prediction_root(prediction), names, only=only)

    def score(self, job: SequenceJob) -> SequenceScore:
        count = int(without_void(read_label_png(job.truth / job.frames[0])).max())
        objects, proposals = range(1, count + 1), range(1, MAX_PROPOSALS + 1)
        j, f = np.zeros((2, MAX_PROPOSALS, count, len(job.frames)))
        highest = 0
        for i, frame in enumerate(job.frames):
            truth = read_label_png(job.truth / frame)
            prediction = read_label_png(job.prediction / frame)
            if truth.shape == prediction.shape and (is_void := truth == VOID).any():
                found = int(prediction.max())  # ids count even if their pixels are void
                prediction = np.where(is_void, 0, prediction).astype(np.uint8)
                truth = np.where(is_void, 0, truth).astype(np.uint8)
            else:
                found = int(prediction.max())
            pair = pair_of(truth, prediction, job, frame)
            highest = max(highest, found)
            refuse_ids_above(MAX_PROPOSALS, [found], job, frame, "proposals at most")
            true_outlines, proposed_outlines = (
                pair.truth_outlines(objects),
                pair.prediction_outlines(proposals),
            )
            pairs = [(p, o) for p in proposals for o in objects]
            for p, o in pairs:
                both, union = pair.overlap(o, p)
                j[p - 1, o - 1, i] = both / union if union else 1.0
            scores = pair.f_of_pairs(
                [true_outlines[o - 1] for _, o in pairs], [proposed_outlines[p - 1] for p, _ in pairs]
            )
            f[:, :, i] = np.reshape(scores, (MAX_PROPOSALS, count))
        num_proposals = max(highest, count)  # missing proposals are empty
        j, f = j[:num_proposals], f[:num_proposals]
        matched = best_pairs((j.mean(2) + f.mean(2)) / 2)
        scores_of = {}
        matches = {}
        for place, (p, o) in enumerate(matched, start=1):
            scores_of[str(place)] = davis_score(job.frames, j[p, o], f[p, o])
            matches[str(place)] = {"object": o + 1, "proposal": p + 1}
        return SequenceScore(scores_of, {"matches": matches})

    def total(self, objects: Objects) -> dict[str, float]:
        return davis_total(objects)
