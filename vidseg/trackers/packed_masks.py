"""Masks as bits, for the way from a GPU to the host: an eighth of the bytes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor


def pack_masks(masks_nhw: Tensor) -> Tensor:
    """The pixels of each mask as bits, row by row, the first one highest: uint8 N x ceil(H·W / 8)."""
    pixels = masks_nhw.flatten(1)
    bits = F.pad(pixels, (0, -pixels.shape[1] % 8)).unflatten(1, (-1, 8)).to(torch.uint8)
    places = torch.arange(7, -1, -1, device=bits.device, dtype=torch.uint8)
    return (bits << places).sum(dim=2, dtype=torch.uint8)


def unpack_masks(packed_nb: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The masks that `pack_masks` packed: bool N x H x W."""
    pixels = np.unpackbits(packed_nb, axis=1, count=math.prod(size_hw))
    return pixels.view(np.bool_).reshape(-1, *size_hw)
