"""Post-processing of masks: filling holes, removing specks, keeping objects apart.

Connected regions are found on the CPU with OpenCV (8-connected); no compiled extension is needed.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

HOLE_LOGIT = 0.1
"""Logit of a filled hole: just inside the object (SAM 2, `fill_holes_in_mask_scores`)."""
SPECK_LOGIT = -0.1
LOSER_LOGIT = -10.0
"""Highest logit that an object may have on a pixel that another one gets."""


def fill_holes(logits_nhw: Tensor, max_area: int) -> Tensor:
    """Raise 8-connected regions of logits <= 0 with at most `max_area` pixels to just above 0."""
    return torch.where(small_regions(logits_nhw <= 0, max_area), HOLE_LOGIT, logits_nhw)


def remove_specks(logits_nhw: Tensor, max_area: int) -> Tensor:
    """Lower 8-connected regions of logits > 0 with at most `max_area` pixels to just below 0."""
    return torch.where(small_regions(logits_nhw > 0, max_area), SPECK_LOGIT, logits_nhw)


def separate(logits_nhw: Tensor) -> Tensor:
    """Give each pixel to the object with the highest logit (the first one on a tie).

    Source: `SAM2Base._apply_non_overlapping_constraints`. A single object is left alone.
    """
    if logits_nhw.shape[0] < 2:
        return logits_nhw
    owner = logits_nhw.argmax(dim=0, keepdim=True)
    is_owner = owner == torch.arange(logits_nhw.shape[0], device=logits_nhw.device)[:, None, None]
    return torch.where(is_owner, logits_nhw, logits_nhw.clamp(max=LOSER_LOGIT))


def small_regions(masks_nhw: Tensor, max_area: int) -> Tensor:
    """The 8-connected regions of at most `max_area` pixels, bool like the masks."""
    small = np.zeros(masks_nhw.shape, bool)
    for row, mask in enumerate(masks_nhw.cpu().numpy()):
        _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        is_small = stats[:, cv2.CC_STAT_AREA] <= max_area
        is_small[0] = False  # label 0 is what is not in the mask
        small[row] = is_small[regions]
    return torch.from_numpy(small).to(masks_nhw.device)
