"""Losses that hold masks, object scores and predicted IoUs to the truth.

Layouts: R rows (one object of one clip each) · h w the low-res grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def focal(logits_rhw: Tensor, targets_rhw: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss of each row, averaged over pixels: R.

    Source: Lin et al., "Focal Loss for Dense Object Detection" (ICCV 2017); SAM 2, appendix D.2.2.
    """
    loss = F.binary_cross_entropy_with_logits(logits_rhw, targets_rhw, reduction="none")
    p = logits_rhw.sigmoid()
    p_true = p * targets_rhw + (1 - p) * (1 - targets_rhw)
    weight = alpha * targets_rhw + (1 - alpha) * (1 - targets_rhw)
    return (weight * (1 - p_true) ** gamma * loss).flatten(1).mean(dim=1)


def dice(logits_rhw: Tensor, targets_rhw: Tensor) -> Tensor:
    """Dice loss of each row: R; an empty target and an empty mask give 0.

    Source: Milletari et al., "V-Net" (3DV 2016), with the denominator of plain sums, as in SAM 2.
    """
    p = logits_rhw.sigmoid().flatten(1)
    t = targets_rhw.flatten(1)
    return 1 - (2 * (p * t).sum(dim=1) + 1) / (p.sum(dim=1) + t.sum(dim=1) + 1)


def hardest(logits_rhw: Tensor, targets_rhw: Tensor, share: float) -> Tensor:
    """Cross-entropy of each row, averaged over its hardest pixels: R.

    Source: Cheng et al., "XMem" (ECCV 2022), section 4 (bootstrapped cross-entropy).
    """
    loss = F.binary_cross_entropy_with_logits(logits_rhw, targets_rhw, reduction="none").flatten(1)
    return loss.topk(max(1, int(share * loss.shape[1])), dim=1).values.mean(dim=1)


def read_loss(reads_rhw: Tensor, targets_rhw: Tensor, cell: int = 4) -> Tensor:
    """Cross-entropy of what was read from memory against the truth, cell by cell: R.

    Object and background count alike, however large they are.

    Args:
        reads_rhw: from 0 to 1.
        cell: side of a cell on the low-res grid; reads are not meant to be finer.
    """
    reads, targets = (F.avg_pool2d(x[:, None].float(), cell).flatten(1) for x in (reads_rhw, targets_rhw))
    # Logits are used because a read that is not finite then gives a loss that is not, instead of an error.
    wrong = F.binary_cross_entropy_with_logits(reads.logit(eps=1e-3), targets, reduction="none")
    on = (wrong * targets).sum(dim=1) / targets.sum(dim=1).clamp(min=1)
    off = (wrong * (1 - targets)).sum(dim=1) / (1 - targets).sum(dim=1).clamp(min=1)
    return (on + off) / 2


def true_iou(logits_rhw: Tensor, targets_rhw: Tensor) -> Tensor:
    """IoU of each row's mask, cut at 0, with its target: R; 1 where both are empty."""
    masks, targets = (logits_rhw > 0).flatten(1), (targets_rhw > 0.5).flatten(1)
    union = (masks | targets).sum(dim=1)
    both = (masks & targets).sum(dim=1)
    return torch.where(union > 0, both / union.clamp(min=1), 1.0)
