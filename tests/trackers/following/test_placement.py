"""Maps move between the decoder's grid and the grid of pictures without drifting."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vidseg.trackers.following.placement import OnDecoder, OnPicture, placement_of
from vidseg.trackers.image.framing import Framing, LongSide, Stretch
from vidseg.trackers.image.nano_framing import NanoFraming
from vidseg.trackers.pico_sam2.framing import WholePicture

GRID_HW = (90, 160)
FRAMINGS = [Stretch(256, "bilinear"), LongSide(1024), LongSide(512, prompt_size=1024), NanoFraming(1024)]


@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
@pytest.mark.parametrize("side", [64, 256])
def test_a_map_that_goes_to_the_decoder_and_back_stays_in_place(framing: Framing, side: int) -> None:
    placement = OnDecoder(framing, side, GRID_HW)
    disk = cv2.circle(np.full(GRID_HW, -8, np.float32), (110, 40), 24, 8, -1)
    smooth = cv2.GaussianBlur(disk, (0, 0), 4)[None]
    back = smooth
    for _ in range(10):
        back = placement.to_grid(placement.from_grid(back, -8))
    moments = [cv2.moments((each[0] > 0).astype(np.uint8)) for each in (smooth, back)]
    centres = [(m["m10"] / m["m00"], m["m01"] / m["m00"]) for m in moments]
    assert np.allclose(*centres, atol=0.5)


def test_padding_is_outside() -> None:
    placement = OnDecoder(LongSide(1024), 64, GRID_HW)
    moved = placement.from_grid(np.ones((1, *GRID_HW), np.float32), -5.0)[0]
    assert placement.inside_hw[:36].all()
    assert not placement.inside_hw[37:].any()
    assert np.array_equal(moved, np.where(placement.inside_hw, 1, -5))


def test_a_model_of_crops_keeps_masks_on_the_picture() -> None:
    placement = placement_of(WholePicture(96), 96, GRID_HW)
    assert isinstance(placement, OnPicture)
    assert placement.low_hw == GRID_HW
