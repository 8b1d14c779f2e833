"""Reading labels by motion: what moves is followed, what is carried lands there, what goes along is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vidseg.trackers.space_time.pixel_reading import by_motion, carry, follow, mismatch

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


def test_gradients_reach_what_is_carried() -> None:
    masks = torch.rand(1, 1, SIDE, SIDE, requires_grad=True)
    carry(masks, follow(window(textured(4), 2, 0), window(textured(4), 0, 0))).sum().backward()
    assert masks.grad is not None
    assert masks.grad.sum() == pytest.approx(SIDE * SIDE, rel=1e-4)


def test_a_small_picture_stands_still() -> None:
    small = torch.rand(1, 3, 16, 16) * 255
    maps = torch.rand(1, 2, 16, 16)
    torch.testing.assert_close(carry(maps, follow(small, small.flip(3))), maps, atol=1e-5, rtol=0)


def moving_object(shift: int, pan: int) -> tuple[Tensor, Tensor, Tensor]:
    """An object that moves by `shift` pixels, its background by `pan`: before, now, its mask before."""
    picture, other = textured(6), textured(7)
    before, now = window(picture, 0, 0).clone(), window(picture, pan, 0).clone()
    before[..., 32:64, 24:56] = other[..., :32, :32]
    now[..., 32:64, 24 + shift : 56 + shift] = other[..., :32, :32]
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 32:64, 24:56] = 1
    return before, now, mask


@pytest.mark.parametrize("pan", [0, 4])
def test_what_moves_with_the_object_is_told_from_what_does_not(pan: int) -> None:
    before, now, mask = moving_object(5, pan)
    places = follow(now, before)
    got = by_motion(carry(mask, places), places)
    assert got.shape == mask.shape
    assert got.abs().max() <= 1
    inner = got[0, 0, 38:58, 36:54]
    around = torch.cat((got[0, 0, 32:64, 4:20], got[0, 0, 32:64, 72:92]), dim=1)
    assert inner.mean() > 0.7
    assert around.mean() < -0.4


def test_where_nothing_moves_motion_says_nothing() -> None:
    before, _, mask = moving_object(0, 0)
    places = follow(before, before)
    assert by_motion(mask, places).abs().max() < 0.05
    assert by_motion(torch.zeros_like(mask), places).abs().max() < 0.05


def test_motions_of_objects_of_one_frame_are_those_of_each_alone() -> None:
    before, now, mask = moving_object(5, 2)
    places = follow(now, before)
    masks = torch.cat((mask, mask.flip(3), torch.zeros_like(mask)))
    together = by_motion(masks, places)
    torch.testing.assert_close(together, torch.cat([by_motion(one[None], places) for one in masks]))
