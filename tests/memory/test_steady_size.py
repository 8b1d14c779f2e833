"""The policy steady-size: of two things of one size the one on its way is kept, and all else is left."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import Tensor

from vidseg.memory.bank import MemoryFrame, Moment, ObjectBank
from vidseg.memory.policies.steady_size import SteadySize

SIZE = 96
SIDE = 16


def drawn(*corners: tuple[int, int], side: int = SIDE) -> Tensor:
    """Mask logits of squares, by x and y of their upper left corners."""
    logits = torch.full((SIZE, SIZE), -3.0)
    for x, y in corners:
        logits[y : y + side, x : x + side] = 5.0
    return logits


def followed(frames: int = 6, step: int = 3) -> tuple[SteadySize, ObjectBank]:
    """A bank after some frames of a square that moves to the right, from x = 10 on."""
    policy, bank = SteadySize(), ObjectBank()
    memory = MemoryFrame(0, None, torch.zeros(8), 5.0, 1.0, drawn((10, 40)))
    bank.remember(memory, as_conditioning=True)
    policy.note_prompt(bank, memory)
    for index in range(1, frames):
        logits = drawn((10 + step * index, 40))
        assert torch.equal(policy.trim(bank, Moment(index), logits), logits)
    return policy, bank


def test_of_two_pieces_the_one_on_the_way_stays() -> None:
    policy, bank = followed()
    got = policy.trim(bank, Moment(6), drawn((28, 40), (60, 40)))
    assert torch.equal(got > 0, drawn((28, 40)) > 0)


def test_one_piece_is_left_as_it_is() -> None:
    """What touches may be a part of the object that was hidden until now."""
    policy, bank = followed()
    logits = drawn((28, 40), (28 + SIDE, 40))
    assert torch.equal(policy.trim(bank, Moment(6), logits), logits)


def test_an_object_that_something_divides_keeps_both_parts() -> None:
    policy, bank = followed()
    logits = drawn((20, 32), side=22)
    logits[:, 36:39] = -3.0
    assert torch.equal(policy.trim(bank, Moment(6), logits), logits)


def test_identity_is_kept_while_twins_pass() -> None:
    """The twin comes from the right, passes in front, and leaves to the left; masks hold both all along."""
    policy, bank = followed()
    for index in range(6, 25):
        own, twin = (10 + 3 * index, 40), (64 - 3 * (index - 6), 40)
        got = policy.trim(bank, Moment(index), drawn(own, twin)) > 0
        if own[0] < twin[0] + SIDE and twin[0] < own[0] + SIDE:
            continue  # they touch
        assert torch.equal(got, drawn(own) > 0), index


def test_a_mask_that_creeps_onto_the_twin_in_front_does_not_lead_astray() -> None:
    """While the object is half hidden, what is left of its mask goes with the twin; then both are seen."""
    policy, bank = followed()
    for index in range(6, 20):
        policy.trim(bank, Moment(index), drawn((28 - 2 * (index - 6), 44), side=8))
    both = drawn((10 + 3 * 20, 40), (0, 40))
    assert torch.equal(policy.trim(bank, Moment(20), both) > 0, drawn((10 + 3 * 20, 40)) > 0)


def test_the_twin_is_not_taken_for_the_object_that_went_behind_it() -> None:
    policy, bank = followed()
    for index in range(6, 10):
        policy.trim(bank, Moment(index), drawn((28, 44), side=8))
    twin = drawn((4, 40))
    for index in range(10, 12):
        assert torch.equal(policy.trim(bank, Moment(index), twin), twin)
    got = policy.trim(bank, Moment(12), drawn((46, 40), (4, 40)))
    assert torch.equal(got > 0, drawn((46, 40)) > 0)


def test_an_object_that_comes_into_the_picture_has_the_size_that_it_shows() -> None:
    policy, bank = SteadySize(), ObjectBank()
    seen = [drawn((x, 40)) for x in range(4, 40, 4)]
    cut = torch.full((SIZE, SIZE), -3.0)
    cut[40 : 40 + SIDE, :8] = 5.0
    memory = MemoryFrame(0, None, torch.zeros(8), 5.0, 1.0, cut)
    bank.remember(memory, as_conditioning=True)
    policy.note_prompt(bank, memory)
    wider = cut.clone()
    wider[40 : 40 + SIDE, :12] = 5.0
    for index, logits in enumerate([wider, drawn((0, 40)), *seen], start=1):
        assert torch.equal(policy.trim(bank, Moment(index), logits), logits)
    got = policy.trim(bank, Moment(12), drawn((40, 40), (70, 40)))
    assert torch.equal(got > 0, drawn((40, 40)) > 0)


def test_slow_growth_is_believed() -> None:
    """A side that grows by a twentieth every third frame: the area, by 3.3 % a frame."""
    policy, bank = followed()
    for index in range(6, 60):
        logits = drawn((20, 30), side=SIDE + (index - 6) // 3)
        assert torch.equal(policy.trim(bank, Moment(index), logits), logits)


def test_what_comes_out_from_behind_something_has_its_size_again() -> None:
    policy, bank = followed()
    hidden = drawn((28, 40))
    hidden[:, 36:] = -3.0
    for index in range(6, 12):
        policy.trim(bank, Moment(index), hidden)
    logits = drawn((28, 40))
    assert torch.equal(policy.trim(bank, Moment(12), logits), logits)


def test_masks_are_believed_again_after_a_long_doubt_and_after_a_prompt() -> None:
    policy, bank = followed()
    both = drawn((28, 40), (60, 40))
    assert not torch.equal(policy.trim(bank, Moment(6), both), both)
    assert torch.equal(policy.trim(bank, Moment(30), both), both)
    policy, bank = followed()
    corrected = MemoryFrame(6, None, torch.zeros(8), 5.0, 1.0, both)
    bank.remember(corrected, as_conditioning=True)
    policy.note_prompt(bank, corrected)
    assert torch.equal(policy.trim(bank, Moment(7), both), both)


def test_an_absent_object_changes_nothing() -> None:
    policy, bank = followed()
    before = bank.notes
    nothing = torch.full((SIZE, SIZE), -1024.0)
    assert torch.equal(policy.trim(bank, Moment(6), nothing), nothing)
    assert bank.notes is before


def test_backward_as_forward() -> None:
    """A track that runs backward in time is cut as its mirror in time is."""
    policy, bank = followed()
    want = policy.trim(bank, Moment(6), drawn((28, 40), (60, 40)))
    policy, bank = SteadySize(), ObjectBank()
    memory = MemoryFrame(50, None, torch.zeros(8), 5.0, 1.0, drawn((10, 40)))
    bank.remember(memory, as_conditioning=True)
    policy.note_prompt(bank, memory)
    for back in range(1, 6):
        policy.trim(bank, Moment(50 - back, reverse=True), drawn((10 + 3 * back, 40)))
    assert torch.equal(policy.trim(bank, Moment(44, reverse=True), drawn((28, 40), (60, 40))), want)


def test_notes_survive_a_file() -> None:
    policy, bank = followed()
    tensors, facts = bank.save("bank")
    restored = ObjectBank.restore("bank", tensors, json.loads(json.dumps(facts)))
    both = drawn((28, 40), (60, 40))
    assert torch.equal(policy.trim(bank, Moment(6), both), policy.trim(restored, Moment(6), both))


def test_masks_are_packed_without_loss() -> None:
    from vidseg.memory.policies.steady_size import _packed, _unpacked

    rng = np.random.default_rng(0)
    for share in (0.0, 0.1, 0.5, 1.0):
        mask = rng.random((13, 17)) < share
        assert np.array_equal(_unpacked(_packed(mask)), mask)
