"""What the frame before adds to object scores: masks that go on, break off, or are about to return."""

from __future__ import annotations

import torch
from torch import Tensor

from vidseg.trackers.space_time.continuity import BREAKS_OFF, STAYS, evidence

SIZE = 32
FITS, MISFITS = 0.0, 1.0


def square(x: int, side: int = 8, height: float = 1.0) -> Tensor:
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 8 : 8 + side, x : x + side] = height
    return mask


def added(
    mask_1hw: Tensor, carried_1hw: Tensor, mismatch: float = FITS, *, is_prompted: bool = False
) -> float:
    apart = torch.full((1, SIZE, SIZE), mismatch)
    return evidence(mask_1hw > 0, carried_1hw, apart, is_prompted=is_prompted).item()


def test_what_goes_on_stays() -> None:
    assert added(square(8), square(8, height=0.95)) == STAYS
    assert added(square(8), square(8, height=0.95), is_prompted=True) == STAYS


def test_a_sure_mask_that_does_not_go_on_breaks_off() -> None:
    """It is decoded elsewhere, or its pixels are others."""
    assert added(square(20), square(8, height=0.95)) == -BREAKS_OFF
    assert added(square(8), square(8, height=0.95), MISFITS) == -BREAKS_OFF


def test_the_mask_of_a_return_may_grow() -> None:
    assert added(square(8, side=16), square(8, side=4, height=0.7)) == 0


def test_an_object_that_was_absent_has_nothing_to_break_off_from() -> None:
    assert added(square(8), square(8, height=0.0)) == 0
    assert added(torch.zeros(1, SIZE, SIZE), square(8, height=0.0)) == 0


def test_a_prompt_elsewhere_is_not_held_against_an_object() -> None:
    assert added(square(20), square(8, height=0.95), is_prompted=True) == 0


def test_objects_are_judged_apart() -> None:
    masks, carried = torch.cat((square(8), square(20))), torch.cat((square(8), square(8)))
    apart = torch.zeros(2, SIZE, SIZE)
    assert evidence(masks > 0, carried, apart, is_prompted=False).tolist() == [STAYS, -BREAKS_OFF]
