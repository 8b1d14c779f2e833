"""Rules on the object score, from what became of the object's mask of a frame ago.

An object that goes on where the optical flow takes it has not vanished. One whose mask was sure, and that
does not go on, has broken off: what is decoded now is often the cover that hides it, so the score must be
clearly above 0.

The head that scores presence looks at keys and colours. These are unsure of small objects, of objects beside
similar ones, and of objects of which the prompt caught only a half. When an object leaves the picture or goes
behind something, the mask that the flow carries shrinks, no longer fits, or differs from the decoded one.

Layouts: R rows (objects) · h w the low-res grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

STAYS = 2.5
"""Added to the object score (a logit) of an object that goes on."""
BREAKS_OFF = 1.5
"""Subtracted from that of an object that breaks off."""
SURE = 0.85
"""A carried mask is sure if its pixels are, on average, more than this likely on the object. Masks of objects
that have just returned are not: they grow over some frames, which looks as if they broke off."""
LEAST_IOU = 0.5
"""The carried mask and the decoded one must have a higher IoU than this."""
MOST_MISMATCH = 0.3
"""The mean mismatch of pixels on the carried mask must be lower than this; units of `pixel_reading.mismatch`.
"""


def evidence(masks_rhw: Tensor, carried_rhw: Tensor, mismatch_rhw: Tensor, *, is_prompted: bool) -> Tensor:
    """What the frame before adds to object scores: float R; 0 for an object that was absent there.

    Args:
        masks_rhw: decoded masks, bool.
        carried_rhw: masks of the previous frame carried along the flow, from 0 to 1.
        mismatch_rhw: how far pixels are from those that they follow; see `pixel_reading.mismatch`.
        is_prompted: whether a prompt asks for the objects on this frame, so that none breaks off.
    """
    carried = carried_rhw > 0.5
    size = carried.sum(dim=(1, 2))
    shared, either = (carried & masks_rhw).sum(dim=(1, 2)), (carried | masks_rhw).sum(dim=(1, 2))
    fits = (mismatch_rhw * carried).sum(dim=(1, 2)) < MOST_MISMATCH * size
    goes_on = torch.logical_and(shared > LEAST_IOU * either, fits)
    if is_prompted:
        return STAYS * goes_on
    is_sure = (carried_rhw * carried).sum(dim=(1, 2)) > SURE * size
    return STAYS * goes_on - BREAKS_OFF * (is_sure > goes_on)  # sure, and not going on
