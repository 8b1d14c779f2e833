"""MOSEv2's variants of J and F (henghuiding/MOSE-api, MOSEv2/tools/score.py).

They differ from DAVIS's: J has one pixel added to intersection and union, so that a false mask on an absent
object scores 1 / (area + 1). F-dot narrows the tolerance for small objects. Where it is not narrowed, both F
and F-dot dilate with a radius that is no whole number, whose disk lies off its centre (see `disk`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from vidseg.eval.metrics.boundary import TOLERANCE, disk
from vidseg.eval.metrics.frame import FramePair


class Scores(NamedTuple):
    """The measures of one object on one frame."""

    j: float
    f_dot: float
    f: float
    is_absent: bool
    """Whether the object is missing in the ground truth of this frame."""


def mosev2_scores(pair: FramePair, ids: Sequence[int]) -> list[Scores]:
    """J, F-dot and F of each object of a frame."""
    whole = TOLERANCE * math.hypot(*pair.size_hw)
    scores = []
    for obj_id, truth, prediction in zip(
        ids, pair.truth_outlines(ids), pair.prediction_outlines(ids), strict=True
    ):
        both, union = pair.overlap(obj_id, obj_id)
        area = pair.truth_area(obj_id)
        narrowed = math.ceil(0.1 * math.sqrt(area)) if area else math.inf
        if narrowed < whole:
            f = pair.f_of_pairs([truth], [prediction], disk(math.ceil(whole)))[0]
            f_dot = pair.f_of_pairs([truth], [prediction], disk(narrowed))[0]
        else:
            f = f_dot = pair.f_of_pairs([truth], [prediction], disk(whole))[0]
        scores.append(Scores((both + 1) / (union + 1), f_dot, f, area == 0))
    return scores
