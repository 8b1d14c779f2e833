"""NanoSAM's framing: sizes are truncated, both axes of points have one scale, logits are resized once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vidseg.trackers.image.framing import LongSide
from vidseg.trackers.image.nano_framing import NanoFraming

CPU = torch.device("cpu")


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("size_hw", "inside_hw"),
    # 1000 x 667: 64 * 667 / 1000 = 42.7, which SAM rounds to 43.
    [((667, 1000), (42, 64)), ((1000, 667), (64, 42)), ((300, 300), (64, 64)), ((1, 300), (1, 64))],
)
def test_sizes_are_truncated(size_hw: tuple[int, int], inside_hw: tuple[int, int]) -> None:
    framing = NanoFraming(64)
    seen = framing.model_input(picture(*size_hw), CPU)
    assert seen.shape == (3, 64, 64)
    rows, columns = (seen.abs().amax(0) > 0).nonzero().amax(0).tolist()
    assert (rows + 1, columns + 1) == inside_hw


def test_points_have_one_scale() -> None:
    points = NanoFraming(1024).to_model_points(torch.tensor([[[250.0, 100.0]]]), (667, 1000))
    assert points.tolist() == [[[256.0, pytest.approx(102.4)]]]


def test_logits_are_cropped_on_their_own_grid_and_resized_once() -> None:
    logits = torch.randn(2, 256, 256)
    shown = NanoFraming(1024).to_picture(logits, (667, 1000))
    # 256 * 667 / 1000 = 170.75
    want = F.interpolate(logits[None, :, :170], (667, 1000), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(shown, want)


def test_a_picture_without_rounding_is_framed_as_sam_frames_it() -> None:
    image = picture(216, 384)
    torch.testing.assert_close(
        NanoFraming(1024).model_input(image, CPU), LongSide(1024).model_input(image, CPU)
    )
