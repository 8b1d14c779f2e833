"""How SAM 2 chooses among the candidates of its decoder, wherever that decoder runs.

Source: sam2/modeling/sam2_base.py (`_forward_sam_heads`), sam2/sam2_image_predictor.py.

Layouts: B objects · K candidates · C channels · h w the low-res grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from vidseg.masks import stability
from vidseg.trackers.model import Candidates, Decoded, Features
from vidseg.trackers.sam2.mask_decoder import (
    STABILITY_DELTA,
    STABILITY_THRESHOLD,
    choose_best,
    choose_single,
)


class Sam2Answers(ABC):
    """The rules of a model that gives four candidates: the single mask first, then three alternatives."""

    @abstractmethod
    def candidates(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Candidates:
        """See `vidseg.trackers.model.ImageModel.candidates`."""

    @abstractmethod
    def _pointers(self, tokens_bc: Tensor, is_present_b: Tensor) -> Tensor:
        """Object pointers, made of output tokens."""

    def num_prompt_tokens(self, labels_bp: Tensor) -> int:
        # The prompt encoder adds a padding point to every prompt that has points.
        return labels_bp.shape[1] + 1 if labels_bp.shape[1] else 0

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        # The first candidate is the single mask, the others are the alternatives.
        alternatives = (predicted_ious_k[1:].argsort(descending=True, stable=True) + 1).tolist()
        if multimask:
            return list(alternatives)
        return [0] if stability(logits_khw[0], STABILITY_DELTA) >= STABILITY_THRESHOLD else alternatives[:1]

    def decode(
        self,
        features: Features,
        conditioned_bchw: Tensor,
        *,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        previous_logits_bhw: Tensor | None = None,
    ) -> Decoded:
        candidates = self.candidates(
            features,
            conditioned_bchw,
            points_bp2=points_bp2,
            labels_bp=labels_bp,
            previous_logits_bhw=previous_logits_bhw,
        )
        # One click, or none, is ambiguous: choose among the multi-masks; else the single mask, if stable.
        if points_bp2 is None or points_bp2.shape[1] <= 1:
            chosen = choose_best(candidates)
            return self.take(candidates, chosen)
        # The pointer is made from the single mask's token even if another mask is taken.
        chosen = choose_single(candidates)
        return self.take(candidates, chosen, torch.zeros_like(chosen))

    def take(self, candidates: Candidates, chosen_b: Tensor, token_b: Tensor | None = None) -> Decoded:
        """One candidate of each object.

        Args:
            token_b: the candidate whose output token the pointer is made from; None: the chosen one.
        """
        row = torch.arange(chosen_b.shape[0], device=chosen_b.device)
        tokens = candidates.tokens_bkc[row, chosen_b if token_b is None else token_b]
        return Decoded(
            candidates.logits_bkhw[row, chosen_b],
            self._pointers(tokens, candidates.object_score_logits_b > 0),
            candidates.object_score_logits_b,
            candidates.predicted_ious_bk[row, chosen_b],
        )
