"""The answer of the space-time decoder in one pass, and rules that are applied to it without any training.

Layouts: R rows (objects) · h w the low-res grid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vidseg.trackers.contract import ABSENT_LOGIT
from vidseg.trackers.space_time.continuity import evidence
from vidseg.trackers.space_time.pieces import unclicked_pieces

KNOWN = 8.0
"""Weight of a mask that clicks correct, against what is read from the frame anew: half of this is added to
mask logits inside it, and subtracted outside."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answers for R objects, one a row."""

    logits_rhw: Tensor
    """Mask logits."""
    score_logits_r: Tensor
    """Above 0 the object is judged visible."""
    iou_logits_r: Tensor
    """The predicted IoU before the sigmoid."""
    carried_rhw: Tensor
    """The mask of the frame before, carried along the optical flow."""
    apart_rhw: Tensor
    """How badly the flow fits, pixel by pixel."""

    def settled(
        self,
        clicks_rhw: Tensor | None = None,
        beyond_rhw: Tensor | None = None,
        corrected_rhw: Tensor | None = None,
        *,
        is_prompted: bool = True,
    ) -> Answer:
        """The answer after three rules: the mask of the frame before tells whether the object is there
        (`evidence`), a box asks for nothing beyond it, and clicks ask for what they lie on, or change
        that alone, if they correct a mask."""
        added = evidence(self.logits_rhw > 0, self.carried_rhw, self.apart_rhw, is_prompted=is_prompted)
        logits = self.logits_rhw
        if beyond_rhw is not None:
            logits = logits.masked_fill(beyond_rhw, -KNOWN / 2)
        if clicks_rhw is not None and corrected_rhw is not None:
            changed = (logits > 0) != (corrected_rhw > 0)
            logits = torch.where(unclicked_pieces(changed, clicks_rhw), corrected_rhw, logits)
        elif clicks_rhw is not None:
            logits = logits.masked_fill(unclicked_pieces(logits > 0, clicks_rhw), -KNOWN / 2)
        return replace(self, logits_rhw=logits, score_logits_r=self.score_logits_r + added)

    def heeded(self) -> Tensor:
        """Mask logits; an object that is judged absent has no mask."""
        return torch.where((self.score_logits_r > 0)[:, None, None], self.logits_rhw, ABSENT_LOGIT)
