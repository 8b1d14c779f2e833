"""Masks as bits and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidseg.trackers.packed_masks import pack_masks, unpack_masks


@pytest.mark.parametrize("shape", [(1, 4, 8), (3, 5, 7), (2, 1, 1), (0, 5, 7)])
def test_packed_masks_come_back(shape: tuple[int, int, int]) -> None:
    masks = torch.rand(shape) > 0.5
    packed = pack_masks(masks)
    assert packed.shape == (shape[0], -(-shape[1] * shape[2] // 8))
    np.testing.assert_array_equal(unpack_masks(packed.numpy(), shape[1:]), masks.numpy())
