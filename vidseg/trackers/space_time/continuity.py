"""What was there a frame ago and goes on where the optical flow takes it has not vanished.

The score's head looks at keys and colours, which are unsure of small objects, of those with likes beside them
and of those whose prompt caught a half. An object leaves by going out of the picture or behind something: the
mask that the flow carries then shrinks, does not fit, or is not what the decoder says.

Layouts: R rows (objects) · h w the low-res grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

STAYS = 2.5
"""Added to the score of an object that goes on."""
LEAST_IOU = 0.5
"""Of the mask that was carried and the one that was decoded."""
MOST_MISMATCH = 0.3
"""Of pixels on the mask that was carried, the mean; in units of `pixel_reading.mismatch`."""


def goes_on(masks_rhw: Tensor, carried_rhw: Tensor, mismatch_rhw: Tensor) -> Tensor:
    """Whether each object goes on from the frame before: bool R; an object that was absent there does not.

    Args:
        masks_rhw: what was decoded, bool.
        carried_rhw: the mask of the frame before along the flow, from 0 to 1.
        mismatch_rhw: how far pixels are from those that they follow.
    """
    carried = carried_rhw > 0.5
    size = carried.sum(dim=(1, 2))
    shared, either = (carried & masks_rhw).sum(dim=(1, 2)), (carried | masks_rhw).sum(dim=(1, 2))
    fits = (mismatch_rhw * carried).sum(dim=(1, 2)) < MOST_MISMATCH * size
    return torch.logical_and(shared > LEAST_IOU * either, fits)
