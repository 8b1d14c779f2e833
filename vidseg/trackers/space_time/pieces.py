"""What a click asks for hangs together with it: a piece elsewhere that looks alike is another object.

Layouts: R rows (objects) · h w the low-res grid.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vidseg.trackers.initial_mask import components_on


def unclicked_pieces(masks_rhw: Tensor, clicks_rhw: Tensor) -> Tensor:
    """Connected pieces (of 8 neighbours) of a mask that no click lies on, bool R x h x w.

    Nothing of a mask all of whose pieces lie elsewhere.

    Args:
        masks_rhw, clicks_rhw: bool; the clicks as disks.
    """
    rows = []
    for mask, clicked in zip(masks_rhw.cpu().numpy(), clicks_rhw.cpu().numpy(), strict=True):
        asked_for = components_on(mask, clicked)
        rows.append(mask & ~asked_for if asked_for.any() else np.zeros_like(mask))
    return torch.from_numpy(np.stack(rows)).to(masks_rhw.device)
