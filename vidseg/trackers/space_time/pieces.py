"""Finds pieces of a mask, or of a change of one, that clicks do not ask for.

What a click asks for is connected to it; a similar piece elsewhere is another object, and a change elsewhere
none that was wanted.

Layouts: R rows (objects) · h w the low-res grid.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vidseg.trackers.initial_mask import components_on


def unclicked_pieces(masks_rhw: Tensor, clicks_rhw: Tensor) -> Tensor:
    """Pieces (8-connected) of a mask on which no click lies: bool R x h x w.

    If no piece has a click, none is returned, as the whole mask would go.

    Args:
        masks_rhw, clicks_rhw: bool; clicks are drawn as disks.
    """
    rows = []
    for mask, clicked in zip(masks_rhw.cpu().numpy(), clicks_rhw.cpu().numpy(), strict=True):
        asked_for = components_on(mask, clicked)
        rows.append(mask & ~asked_for if asked_for.any() else np.zeros_like(mask))
    return torch.from_numpy(np.stack(rows)).to(masks_rhw.device)
