"""HOTA, MOTA and IDF1 of masks, by TrackEval (Luiten et al., IJCV 2021; JonathonLuiten/TrackEval).

They judge trackers that find objects by themselves, whose ids have nothing to do with those of the ground
truth. Sequences are read as TrackEval's own reader of DAVIS (trackeval/datasets/davis.py) reads them: every
value of a label map is an object, every annotated frame counts, and void (255) is background. The measures
themselves are the package's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vidseg.errors import InputError
from vidseg.eval.protocols.contract import (
    Headline,
    Objects,
    ObjectScore,
    ScoringProtocol,
    SequenceJob,
    SequenceScore,
    read_pair,
)
from vidseg.eval.protocols.layout import jobs_of_folders, mask_root, prediction_root

EVERY_OBJECT = "all"
"""These measures are of all objects together, which stand under this name."""
FRAMES = "HOTA_frames"
"""An empty list: HOTA is of whole sequences, and no frame has a value of its own."""
ALPHAS = "_alphas"
"""Ends the names of lists with a value for each of HOTA's 19 thresholds, 0.05 to 0.95; HOTA is their mean."""
IOU_OF_A_MATCH = 0.5
"""Masks match in MOTA and IDF1 from this IoU on, the package's default."""


@dataclass(frozen=True)
class Hota(ScoringProtocol):
    """The three families of TrackEval on label maps; see the module."""

    name: str = "hota"
    headline: ClassVar[Headline] = Headline(
        key="HOTA", object_keys=("HOTA",), frame_keys=(FRAMES,), measure="HOTA"
    )

    def jobs(
        self, truth: Path, prediction: Path, meta: Path | None, only: Collection[str] | None = None
    ) -> list[SequenceJob]:
        _metrics()  # a missing package is told before anything is read
        root = mask_root(truth, "--gt", ("Annotations", "Annotations_unsupervised"))
        return jobs_of_folders(root, prediction_root(prediction), only=only)

    def score(self, job: SequenceJob) -> SequenceScore:
        sequence = _detections(job)
        values: dict[str, Any] = {}
        for metric in _metrics():
            values |= _as_values(metric, metric.eval_sequence(sequence))
        return SequenceScore({EVERY_OBJECT: ObjectScore(values, {FRAMES: []}, [])})

    def total(self, objects: Objects) -> dict[str, float]:
        total: dict[str, Any] = {}
        for metric in _metrics():
            results = {name: _as_results(metric, of[EVERY_OBJECT]) for name, of in objects.items()}
            total |= _as_values(metric, metric.combine_sequences(results))
        return {name: value for name, value in total.items() if not name.endswith(ALPHAS)}


def _metrics() -> list[Any]:
    try:
        from trackeval.metrics import CLEAR, HOTA, Identity
    except ImportError:
        raise InputError(
            "the protocol 'hota' needs the package TrackEval",
            # It is no extra, because pip would bring another OpenCV with it, which overwrites ours.
            hint="pip install scipy tabulate && pip install --no-deps trackeval",
        ) from None
    settings = {"THRESHOLD": IOU_OF_A_MATCH, "PRINT_CONFIG": False}
    return [HOTA(), CLEAR(settings), Identity(settings)]


def _detections(job: SequenceJob) -> dict[str, Any]:
    """A sequence as TrackEval's measures take it: ids from 0 without gaps, and the IoU of each pair of masks
    of a frame."""
    ids: dict[str, list[list[int]]] = {"gt": [], "tracker": []}
    similarities = []
    for frame in job.frames:
        pair = read_pair(job, frame, is_void_kept=False)
        true_ids, tracked_ids = pair.truth_ids, pair.prediction_ids
        ids["gt"].append(true_ids)
        ids["tracker"].append(tracked_ids)
        overlaps = np.array([[pair.overlap(true, found) for found in tracked_ids] for true in true_ids])
        both, union = overlaps.reshape(len(true_ids), len(tracked_ids), 2).transpose(2, 0, 1)
        similarities.append(both / np.maximum(union, 1))
    sequence: dict[str, Any] = {"num_timesteps": len(job.frames), "similarity_scores": similarities}
    for side, by_frame in ids.items():
        known = sorted({obj_id for frame_ids in by_frame for obj_id in frame_ids})
        sequence[f"{side}_ids"] = [np.searchsorted(known, frame_ids).astype(int) for frame_ids in by_frame]
        sequence[f"num_{side}_ids"] = len(known)
        sequence[f"num_{side}_dets"] = sum(map(len, by_frame))
    return sequence


def _as_values(metric: Any, results: Mapping[str, Any]) -> dict[str, Any]:
    """TrackEval's results as numbers for JSON; of a list over thresholds its mean, too, as in its tables."""
    values: dict[str, Any] = {}
    for name, result in results.items():
        if isinstance(result, np.ndarray):
            values[name] = float(result.mean())
            values[name + ALPHAS] = result.tolist()
        else:
            values[name] = (int if name in metric.integer_fields else float)(result)
    return values


def _as_results(metric: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What `_as_values` was made of."""
    return {
        name: np.array(values[name + ALPHAS]) if name + ALPHAS in values else values[name]
        for name in metric.fields
    }
