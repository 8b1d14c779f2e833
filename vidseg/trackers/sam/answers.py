"""How models of the first SAM's kind choose among the candidates of their decoder, wherever that runs.

Layouts: K candidates · h w the low-res grid · C channels · H W the feature grid · B objects · P points.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from vidseg.trackers.model import Features
from vidseg.trackers.sam2.mask_decoder import stability

Choice = Literal["predicted-iou", "stability"]
Ranks = Literal["three", "all"]
STABILITY_OFFSET = 1.0
"""Logits above and below 0 at which a low-res mask is cut, where masks are chosen by their stability."""


class SamAnswers:
    """The rules of a model that gives four candidates: the single mask first, then three alternatives."""

    takes_masks = True
    takes_decoded = False
    """Pictures keep their aspect ratio, which frames resized by a decoder do not."""
    feedback_limit = math.inf
    """SAM's predictors feed logits back as they are."""

    choice: Choice
    """What the best of several candidates is chosen by."""
    ranks: Ranks
    """Which candidates compete: the three for an ambiguous prompt, or all four (NanoSAM)."""
    single_mask: bool
    """Whether candidate 0 answers an unambiguous prompt."""

    def without_memory(self, features: Features) -> Tensor:
        return features.top_1chw

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        if self.single_mask and not multimask:
            return [0]
        by_stability = self.choice == "stability"
        quality_k = stability(logits_khw, STABILITY_OFFSET) if by_stability else predicted_ious_k
        first = 0 if self.ranks == "all" else 1
        ranked: list[int] = (quality_k[first:].argsort(descending=True, stable=True) + first).tolist()
        return ranked if multimask else ranked[:1]
