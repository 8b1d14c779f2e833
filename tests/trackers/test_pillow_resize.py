"""Pictures resized by torch have the very pixels that Pillow gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vidseg.trackers.pillow_resize import can_resize, resize_bicubic

SIZES = [(72, 128), (100, 120), (256, 256), (31, 300), (3, 5), (90, 101), (37, 64)]


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("side", [64, 256, 101])
def test_resizes_as_pillow_does(size_hw: tuple[int, int], side: int) -> None:
    assert can_resize(size_hw)
    rng = np.random.default_rng(side)
    picture = rng.integers(0, 256, (*size_hw, 3), np.uint8)
    picture[: size_hw[0] // 2] = np.where(picture[: size_hw[0] // 2] > 127, 255, 0)  # sums beyond the range
    want = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize_bicubic(torch.from_numpy(picture), (side, side)).numpy(), want)
