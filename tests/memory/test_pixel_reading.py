"""Reading labels by pixels: what moves is followed, what is carried lands there, colours tell sides apart."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory.pixel_reading import by_colour, carry, follow, mismatch

SIDE = 96


def textured(seed: int) -> Tensor:
    """RGB 1 x 3 x (SIDE + 32) x (SIDE + 32), with detail at several scales."""
    rng = np.random.default_rng(seed)
    wide = SIDE + 32
    picture = sum(
        cv2.resize(rng.uniform(0, 255 / 3, (n, n, 3)).astype(np.float32), (wide, wide), interpolation=3)
        for n in (8, 24, 64)
    )
    return torch.from_numpy(np.clip(picture, 0, 255)).permute(2, 0, 1)[None].round()


def window(picture: Tensor, x: int, y: int) -> Tensor:
    return picture[..., 16 + y : 16 + y + SIDE, 16 + x : 16 + x + SIDE]


@pytest.mark.parametrize(("x", "y"), [(0, 0), (3, 0), (-2, 5), (7, -6)])
def test_a_moving_picture_is_followed(x: int, y: int) -> None:
    picture = textured(1)
    before, now = window(picture, 0, 0), window(picture, x, y)
    places = follow(now, before)
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 30:60, 20:70] = 1
    moved = torch.zeros(1, 1, SIDE, SIDE)
    moved[..., 30 - y : 60 - y, 20 - x : 70 - x] = 1
    got = carry(mask, places) > 0.5
    both, either = (got & (moved > 0)).sum(), (got | (moved > 0)).sum()
    assert both / either > 0.97
    inner = mismatch(now, before, places)[..., 12:-12, 12:-12]
    assert inner.mean() < 0.02
    if (x, y) != (0, 0):
        still = follow(now, now)
        assert mismatch(now, before, still)[..., 12:-12, 12:-12].mean() > 10 * inner.mean()


def test_objects_of_one_frame_are_carried_as_each_alone() -> None:
    before, now = window(textured(2), 0, 0), window(textured(2), 4, 2)
    places = follow(now, before)
    masks = torch.rand(3, 2, SIDE, SIDE)
    together = carry(masks, places)
    alone = torch.cat([carry(one[None], places) for one in masks])
    torch.testing.assert_close(together, alone, atol=0, rtol=0)


def test_cells_go_as_their_pixels_do() -> None:
    before, now = window(textured(3), 0, 0), window(textured(3), 8, 4)
    places = follow(now, before)
    cells = F.avg_pool2d(window(textured(3), 0, 0)[:, :1], 4)
    got = carry(cells, places)
    wanted = F.avg_pool2d(now[:, :1], 4)
    assert (got - wanted)[..., 3:-3, 3:-3].abs().mean() < 0.2 * (cells - wanted).abs().mean()


def test_gradients_reach_what_is_carried() -> None:
    masks = torch.rand(1, 1, SIDE, SIDE, requires_grad=True)
    carry(masks, follow(window(textured(4), 2, 0), window(textured(4), 0, 0))).sum().backward()
    assert masks.grad is not None
    assert masks.grad.sum() == pytest.approx(SIDE * SIDE, rel=1e-4)


def test_a_small_picture_stands_still() -> None:
    small = torch.rand(1, 3, 16, 16) * 255
    maps = torch.rand(1, 2, 16, 16)
    torch.testing.assert_close(carry(maps, follow(small, small.flip(3))), maps, atol=1e-5, rtol=0)


def test_colours_tell_the_object_from_what_is_near_it() -> None:
    picture = torch.zeros(1, 3, SIDE, SIDE)
    picture[:] = torch.tensor([40.0, 90.0, 40.0])[:, None, None]
    picture[..., 30:60, 20:50] = torch.tensor([200.0, 40.0, 30.0])[:, None, None]
    picture[..., :4] = torch.tensor([20.0, 20.0, 220.0])[:, None, None]
    masks = torch.zeros(2, 1, SIDE, SIDE)
    masks[0, :, 30:60, 20:50] = 1
    masks[1] = 1 - masks[0]
    ratios = by_colour(picture.flip(3), [(picture, masks)])
    assert ratios.shape == masks.shape
    assert ratios[0, 0, 45, SIDE - 35] > 0.95
    assert ratios[0, 0, 80, 20] < 0.05
    torch.testing.assert_close(ratios[1], 1 - ratios[0], atol=0.05, rtol=0)


def test_without_the_object_no_colour_is_its_own() -> None:
    picture = textured(5)[..., :SIDE, :SIDE]
    ratios = by_colour(picture, [(picture, torch.zeros(1, 1, SIDE, SIDE))])
    assert ratios.max() <= 0.5
    assert ratios.isfinite().all()
