"""What is read of the bank, and what it forgets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidseg.memory.bank import (
    MemoryFrame,
    Moment,
    ObjectBank,
    RecentFrames,
    nearest_conditioning,
    stack_tokens,
)

TOKENS = 4


def memory(frame_idx: int) -> MemoryFrame:
    tokens = torch.full((TOKENS, 64), float(frame_idx)).bfloat16()
    return MemoryFrame(frame_idx, tokens, torch.full((256,), float(frame_idx)), 5.0, 0.9, torch.zeros(8, 8))


def bank_of(conditioning: list[int], tracked: list[int]) -> ObjectBank:
    return ObjectBank({t: memory(t) for t in conditioning}, {t: memory(t) for t in tracked})


def spatial(recall):
    return [(slot, frame.frame_idx) for slot, frame in recall.spatial]


def pointers(recall):
    return [(back, frame.frame_idx) for back, frame in recall.pointers]


def test_six_memories_and_fifteen_pointers_are_read():
    recall = RecentFrames().recall(bank_of([0], list(range(1, 30))), Moment(30))
    assert spatial(recall) == [(-1, 0), (5, 24), (4, 25), (3, 26), (2, 27), (1, 28), (0, 29)]
    assert pointers(recall) == [(30, 0), *((back, 30 - back) for back in range(1, 16))]


def test_in_reverse_the_frames_ahead_are_the_past():
    recall = RecentFrames().recall(bank_of([40], list(range(11, 40))), Moment(10, reverse=True))
    assert spatial(recall) == [(-1, 40), (5, 16), (4, 15), (3, 14), (2, 13), (1, 12), (0, 11)]
    assert pointers(recall) == [(30, 40), *((back, 10 + back) for back in range(1, 16))]


def test_conditioning_frames_ahead_lend_their_memory_but_not_their_pointer():
    recall = RecentFrames().recall(bank_of([0, 9], [1]), Moment(2))
    assert spatial(recall) == [(-1, 0), (-1, 9), (0, 1)]
    assert pointers(recall) == [(2, 0), (1, 1)]


def test_times_of_pointers_are_scaled_by_short_clips():
    assert RecentFrames().pointer_limit(Moment(9, num_frames=10)) == 10
    assert RecentFrames().pointer_limit(Moment(9, num_frames=100)) == 16
    assert RecentFrames().pointer_limit(Moment(9)) == 16


@pytest.mark.parametrize("frame_idx", [20, 21, 22, 23])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_stride_reads_the_frame_before_and_multiples(frame_idx, reverse, stride):
    """As in SAM 2: the last frame, then every stride-th one, counted from multiples."""
    bank = bank_of([0], [t for t in range(60) if t != frame_idx])
    got = [t for _, t in spatial(RecentFrames(stride=stride).recall(bank, Moment(frame_idx, reverse)))[1:]]
    if reverse:
        first = -(-(frame_idx + 2) // stride) * stride
        want = [frame_idx + 1, *(first + k * stride for k in range(5))]
    else:
        first = (frame_idx - 2) // stride * stride
        want = [frame_idx - 1, *(first - k * stride for k in range(5))]
    assert got == [t for t in want[::-1] if 0 <= t < 60]


def test_conditioning_frame_over_the_cap_is_read_as_a_tracked_one_while_near():
    recall = RecentFrames(max_conditioning=2).recall(bank_of([0, 1, 2, 3], [4]), Moment(5))
    # The nearest before, none after, then the next nearest; the others are within six frames.
    assert spatial(recall) == [(-1, 2), (-1, 3), (4, 0), (3, 1), (0, 4)]


frame_numbers = st.lists(st.integers(0, 60), min_size=1, max_size=8, unique=True)


@given(frame_numbers, st.integers(0, 60), st.integers(2, 5))
def test_choice_under_a_cap_equals_the_official_one(conditioning, frame_idx, limit):
    pytest.importorskip("sam2", reason="needs the extra 'sam2'")
    from sam2.modeling.sam2_utils import select_closest_cond_frames

    frames = {t: memory(t) for t in conditioning}
    chosen, rest = nearest_conditioning(frames, frame_idx, limit)
    want, want_rest = select_closest_cond_frames(frame_idx, dict(frames), limit)
    assert [frame.frame_idx for frame in chosen] == [t for t in conditioning if t in want]
    assert list(rest) == list(want_rest)


policies = st.builds(
    RecentFrames,
    recent_frames=st.integers(1, 7),
    max_pointers=st.integers(2, 20),
    max_conditioning=st.none() | st.integers(2, 4),
    stride=st.integers(1, 4),
)


@given(policies, st.sets(st.integers(0, 50), max_size=8), st.booleans(), st.none() | st.just(51))
def test_what_is_forgotten_is_never_read_again(policy, prompted, reverse, num_frames):
    """Step by step through a video: the bank that forgets recalls what the bank that keeps all recalls."""
    whole, bounded = ObjectBank(), ObjectBank()
    order = range(50, -1, -1) if reverse else range(51)
    for frame_idx in order:
        moment = Moment(frame_idx, reverse, num_frames)
        for _ in range(2):  # before the frame is remembered, and again when it is corrected
            recalls = [policy.recall(bank, moment) for bank in (whole, bounded)]
            assert spatial(recalls[0]) == spatial(recalls[1])
            assert pointers(recalls[0]) == pointers(recalls[1])
            assert all(frame.tokens_nc is not None for _, frame in recalls[1].spatial)
            for bank in (whole, bounded):
                bank.remember(memory(frame_idx), as_conditioning=frame_idx in prompted)
            policy.evict(bounded, moment)
    reach = max(policy.max_pointers - 1, policy.recent_frames * policy.stride)
    assert len(bounded.tracked) <= reach + 1


def test_memories_are_dropped_before_pointers():
    bank = bank_of([0], list(range(1, 31)))
    before = bank.num_bytes()
    RecentFrames().evict(bank, Moment(30))
    assert sorted(bank.tracked) == list(range(15, 31))
    assert [t for t, frame in bank.tracked.items() if frame.tokens_nc is not None] == list(range(24, 31))
    assert bank.num_bytes() < before / 2


def test_memory_around_a_correction_is_forgotten():
    bank = bank_of([3], list(range(4, 40)))
    RecentFrames().forget_around(bank, 20)
    assert sorted(bank.tracked) == [*range(4, 13), 20, *range(28, 40)]
    assert list(bank.conditioning) == [3]


def test_recalls_of_one_shape_stack():
    policy = RecentFrames()
    one, other = (policy.recall(bank_of([0], [1, 2]), Moment(3)) for _ in range(2))
    longer = policy.recall(bank_of([0], [1]), Moment(3))
    assert one.shape == other.shape != longer.shape
    assert stack_tokens([one, other]).shape == (2, 3 * TOKENS, 64)
