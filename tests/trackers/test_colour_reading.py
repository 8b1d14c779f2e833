"""Reading labels by colour: sides are told apart by what frames showed, everywhere or close by."""

from __future__ import annotations

import torch
from torch import Tensor

from vidseg.trackers.space_time.colour_reading import by_colour, by_near_colour, colour_counts
from vidseg.trackers.space_time.pixel_reading import follow

SIDE = 96
GREEN, RED, BLUE = (40.0, 90.0, 40.0), (200.0, 40.0, 30.0), (20.0, 20.0, 220.0)


def painted(*rectangles: tuple[int, int, int, int, tuple[float, float, float]]) -> Tensor:
    """RGB 1 x 3 x SIDE x SIDE: green, and rectangles (y0, y1, x0, x1, colour)."""
    picture = torch.tensor(GREEN)[None, :, None, None].expand(1, 3, SIDE, SIDE).clone()
    for y0, y1, x0, x1, colour in rectangles:
        picture[..., y0:y1, x0:x1] = torch.tensor(colour)[:, None, None]
    return picture


def rectangle(y0: int, y1: int, x0: int, x1: int) -> Tensor:
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., y0:y1, x0:x1] = 1
    return mask


def test_colours_tell_the_object_from_what_is_near_it() -> None:
    picture = painted((30, 60, 20, 50, RED), (0, 4, 0, SIDE, BLUE))
    mask = rectangle(30, 60, 20, 50)
    masks = torch.cat((mask, 1 - mask))
    ratios = by_colour(picture.flip(3), colour_counts(picture, masks))
    assert ratios.shape == masks.shape
    assert ratios[0, 0, 45, SIDE - 35] > 0.95
    assert ratios[0, 0, 80, 20] < 0.05
    torch.testing.assert_close(ratios[1], 1 - ratios[0], atol=0.05, rtol=0)


def test_without_the_object_no_colour_is_its_own() -> None:
    picture = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 255
    ratios = by_colour(picture, colour_counts(picture, torch.zeros(1, 1, SIDE, SIDE)))
    assert ratios.max() <= 0.5
    assert ratios.isfinite().all()


def test_close_by_a_colour_is_the_side_that_shows_it_there() -> None:
    # The object is red on the left and blue on the right; blue is background on the left.
    before = painted((32, 64, 16, 48, RED), (32, 64, 48, 80, BLUE), (64, 96, 0, 40, BLUE))
    mask = rectangle(32, 64, 16, 80)
    places = follow(before, before)
    got = by_near_colour(before, (before, mask), places)
    assert got.shape == mask.shape
    assert got[0, 0, 48, 24] > 0.95
    assert got[0, 0, 40, 72] > 0.95
    assert got[0, 0, 80, 20] < 0.05
    assert got[0, 0, 20, 48] < 0.05
    everywhere = by_colour(before, colour_counts(before, mask))
    assert everywhere[0, 0, 80, 20] > 0.5  # what all of the frame's colours cannot tell


def test_a_colour_never_seen_close_by_is_of_neither_side() -> None:
    before = painted((32, 64, 32, 64, RED))
    now = painted((32, 64, 32, 64, RED), (44, 52, 60, 68, BLUE))
    got = by_near_colour(now, (before, rectangle(32, 64, 32, 64)), follow(before, before))
    assert 0.2 < got[0, 0, 48, 64] < 0.8


def test_near_colours_of_objects_of_one_frame_are_those_of_each_alone() -> None:
    generator = torch.Generator().manual_seed(7)
    before, now = (torch.rand(1, 3, SIDE, SIDE, generator=generator) * 255 for _ in range(2))
    masks = torch.rand(3, 1, SIDE, SIDE, generator=generator)
    places = follow(now, before)
    together = by_near_colour(now, (before, masks), places)
    alone = torch.cat([by_near_colour(now, (before, one[None]), places) for one in masks])
    torch.testing.assert_close(together, alone)
