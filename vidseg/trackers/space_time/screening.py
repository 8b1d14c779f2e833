"""Answers many prompts in small portions: each quickly, and those that promise a good mask once more."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidseg.trackers.model import Candidates, Decoded, cat, pick

ROWS_AT_ONCE = 8
"""So many prompts are answered at once on a CPU: the maps of more leave its cache, and a prompt then takes
half as long again."""

Answers = Callable[[Tensor, Tensor], Candidates]
"""Candidates for points B x P x 2 and labels B x P."""


def screened(
    points_bp2: Tensor, labels_bp: Tensor, least_iou: float, quick: Answers, better: Answers
) -> Candidates:
    """One candidate for each prompt: of `better` where `quick` predicts an IoU above `least_iou`.

    Args:
        least_iou: if it is 0, `better` is asked at once.
    """
    at_once = ROWS_AT_ONCE if points_bp2.device.type == "cpu" else len(points_bp2)
    parts = []
    for points, labels in zip(points_bp2.split(at_once), labels_bp.split(at_once), strict=True):
        answers = quick(points, labels) if least_iou > 0 else better(points, labels)
        worth = answers.predicted_ious_bk[:, 0] > least_iou
        if least_iou > 0 and worth.any():
            rows = torch.arange(len(points), device=worth.device)
            order = torch.where(worth, len(points) + worth.cumsum(0) - 1, rows)
            answers = pick(cat([answers, better(points[worth], labels[worth])]), order.tolist())
        parts.append(answers)
    return cat(parts)


def as_candidates(decoded: Decoded) -> Candidates:
    """Answers of a model that makes one mask, each as the one candidate."""
    return Candidates(
        decoded.low_res_logits_bhw[:, None],
        decoded.predicted_ious_b[:, None],
        decoded.pointers_bc[:, None],
        decoded.object_score_logits_b,
    )
