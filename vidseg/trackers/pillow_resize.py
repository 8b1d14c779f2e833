"""Pillow's bicubic resizing on any device, to the bit: so that frames go to a GPU as they are.

Pillow resizes along x, rounds to uint8, and then along y. It computes in integers: weights are rounded to
multiples of 2^-22. When it shrinks a picture, the kernel is stretched, so that every pixel counts.

Source: Pillow, src/libImaging/Resample.c (the steps, and how they round).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vidseg.memory.cached import cached

REACH = 2.0
"""How far the bicubic kernel reaches, in pixels of the larger spacing."""
SLOPE = -0.5
"""The kernel's free parameter, usually called a."""
BITS = 22
"""Weights are integers in units of 2^-BITS."""


def can_resize(size_hw: tuple[int, int]) -> bool:
    """Whether `resize_bicubic` serves pictures of this size: upright ones Pillow may resize along y first."""
    return size_hw[1] >= size_hw[0]


def resize_bicubic(pixels_hwc: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """uint8 H x W x C resized as `PIL.Image.resize(..., BICUBIC)` does it: uint8 h x w x C."""
    height, width, _ = pixels_hwc.shape
    if width != size_hw[1]:
        pixels_hwc = _resize_columns(pixels_hwc, size_hw[1])
    if height != size_hw[0]:
        pixels_hwc = _resize_columns(pixels_hwc.transpose(0, 1), size_hw[0]).transpose(0, 1).contiguous()
    return pixels_hwc


def _resize_columns(pixels_hwc: Tensor, width: int) -> Tensor:
    height, _, channels = pixels_hwc.shape
    sums = pixels_hwc.new_full((height, width, channels), 1 << (BITS - 1), dtype=torch.int32)
    for columns_w, weights_w in zip(*_taps(pixels_hwc.shape[1], width, pixels_hwc.device), strict=True):
        sums.addcmul_(pixels_hwc.index_select(1, columns_w), weights_w[:, None])
    return (sums >> BITS).clamp(0, 255).to(torch.uint8)


@cached(maxsize=16)
def _taps(size: int, new_size: int, device: torch.device) -> Tensor:
    """Which pixels each new pixel is made of, and with what weights: int32 2 x K x new size."""
    scale = size / new_size
    stretch = max(scale, 1.0)
    reach = REACH * stretch
    count = math.ceil(reach) * 2 + 1
    centre = (torch.arange(new_size, dtype=torch.float64) + 0.5) * scale
    first = (centre - reach + 0.5).trunc().clamp(min=0)
    last = (centre + reach + 0.5).trunc().clamp(max=size)
    places = first + torch.arange(count, dtype=torch.float64)[:, None]
    weights = torch.where(places < last, _kernel((places - centre + 0.5) * (1.0 / stretch)), 0.0)
    total = torch.zeros(new_size, dtype=torch.float64)
    for row in weights:  # one after the other, as sums of floats depend on the order
        total = total + row
    units = weights / total * (1 << BITS)
    units = (units + torch.where(units < 0, -0.5, 0.5)).trunc()
    taps = torch.stack((places.clamp(max=size - 1), units)).to(torch.int32)
    return taps[:, (units != 0).any(dim=1)].to(device)


def _kernel(x: Tensor) -> Tensor:
    x = x.abs()
    near = ((SLOPE + 2.0) * x - (SLOPE + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * SLOPE
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
