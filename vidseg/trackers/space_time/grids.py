"""The grids of a space-time model: strides, what a cell holds, and the picture on the low-res grid."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vidseg.trackers.image_encoder import pixels_of
from vidseg.trackers.model import Features

STRIDE = 8
"""Stride of the grid of keys and values."""
LOW_RES_STRIDE = 2
PATCH = STRIDE // LOW_RES_STRIDE
MASK_CHANNELS = PATCH * PATCH
PIXEL_CHANNELS = 3 * PATCH * PATCH
MEMORY_MAPS = 5
"""How many maps are read from memory pixel by pixel: the mask carried from the previous frame, where that
does not fit, what moves with the object, colours by conditioning frames, and colours by what was close by."""
PROMPT_MAPS = 2
"""How many maps are read from a prompt: colours by it, and its mask."""


def low_res_pixels(images_b3ss: Tensor) -> Tensor:
    """RGB pixels, 0 to 255, on the low-res grid: B x 3 x h x w.

    They are rounded, as memories keep them in bfloat16, which is exact up to 255.
    """
    return F.avg_pool2d(pixels_of(images_b3ss), LOW_RES_STRIDE).round()


def grid_of(features: Features) -> tuple[int, int]:
    """Height and width of the key grid, H and W."""
    height, width = features.top_1chw.shape[-2:]
    return height, width
