"""Bank policies on made scores and masks, where each must differ from plain recency."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vidseg.masks import box_iou
from vidseg.memory.bank import Branch, MemoryFrame, Moment, ObjectBank, Offer, RecentFrames
from vidseg.memory.policies.box_filter import BoxFilter
from vidseg.memory.policies.boxes import box_of, largest_region
from vidseg.memory.policies.distractor_aware import DistractorAware
from vidseg.memory.policies.memory_tree import MemoryTree
from vidseg.memory.policies.motion_aware import MotionAware
from vidseg.memory.policies.similarity_pruning import SimilarityPruning, token_similarity
from vidseg.trackers.check_parts import take_offers

SIDE = 64


def memory(frame_idx: int, *, score: float = 5.0, iou: float = 0.9, tokens=None) -> MemoryFrame:
    tokens = torch.zeros(4, 64).bfloat16() if tokens is None else tokens
    return MemoryFrame(frame_idx, tokens, torch.zeros(8), score, iou, None)


def prompted_bank(policy, frame_idx: int = 0) -> ObjectBank:
    bank = ObjectBank({frame_idx: memory(frame_idx)})
    if hasattr(policy, "note_prompt"):
        policy.note_prompt(bank, bank.conditioning[frame_idx])
    return bank


def square(x: float, y: float, side: int = 10) -> torch.Tensor:
    """Logits of a square whose top-left corner is (x, y)."""
    logits = torch.full((SIDE, SIDE), -4.0)
    logits[round(y) : round(y) + side, round(x) : round(x) + side] = 4.0
    return logits


NOTHING = torch.full((SIDE, SIDE), -4.0)


def offer(*candidates: tuple[torch.Tensor, float], score: float = 5.0) -> Offer:
    """Three candidates, (logits, predicted IoU); the missing ones are empty and poor."""
    filled = [*candidates, *[(NOTHING, 0.05)] * (3 - len(candidates))]
    return Offer(torch.stack([logits for logits, _ in filled]), [iou for _, iou in filled], score)


def step(policy, bank: ObjectBank, frame_idx: int, *offers: Offer, evict: bool = True) -> list[Branch]:
    moment = Moment(frame_idx)
    branches = policy.decide(bank, moment, offers)
    given = {id(hypothesis): each for hypothesis, each in zip(bank.hypotheses, offers, strict=False)}
    take_offers(policy, bank, moment, lambda hypotheses: [given[id(h)] for h in hypotheses])
    if evict:
        policy.evict(bank, moment)
    return branches


def read(policy, bank: ObjectBank, frame_idx: int) -> list[tuple[int, int]]:
    return [(slot, frame.frame_idx) for slot, frame in policy.recall(bank, Moment(frame_idx)).spatial]


def frames_read(policy, bank: ObjectBank, frame_idx: int) -> list[int]:
    return [t for _, t in read(policy, bank, frame_idx)]


# --- boxes and the filter


def test_boxes():
    mask = (square(3, 5, 4) > 0).numpy()
    assert box_of(mask) == (3, 5, 7, 9)
    assert box_of(np.zeros((5, 5), bool)) is None
    assert box_iou((0, 0, 4, 4), (2, 0, 6, 4)) == pytest.approx(8 / 24)
    assert box_iou((0, 0, 1, 1), (5, 5, 6, 6)) == 0
    both = mask | (square(30, 30, 6) > 0).numpy()
    assert box_of(largest_region(both)) == (30, 30, 36, 36)
    assert not largest_region(np.zeros((5, 5), bool)).any()


def test_box_filter_equals_the_textbook_form():
    """Against the matrices written out, with the inverse, in float64."""
    rng = np.random.default_rng(0)
    kalman = BoxFilter.started((10, 10, 20, 40))
    mean, covariance = kalman.mean, kalman.covariance
    motion = np.block([[np.eye(4), np.eye(4)], [np.zeros((4, 4)), np.eye(4)]])
    for k in range(20):
        x = 10 + 3 * k + rng.normal()
        box = (x, 12.0, x + 10, 42.0 + k)
        h = mean[3]
        noise = np.array([h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]) ** 2
        mean, covariance = motion @ mean, motion @ covariance @ motion.T + np.diag(noise)
        reading = np.eye(4, 8)
        h = mean[3]
        measured = np.array([x + 5, (54 + k) / 2, 10 / (30 + k), 30 + k])
        spread = reading @ covariance @ reading.T + np.diag(np.array([h / 20, h / 20, 1e-1, h / 20]) ** 2)
        gain = covariance @ reading.T @ np.linalg.inv(spread)
        mean = mean + gain @ (measured - reading @ mean)
        covariance = (np.eye(8) - gain @ reading) @ covariance
        kalman = kalman.predicted().updated(box)
        np.testing.assert_allclose(kalman.mean, mean, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(kalman.covariance, covariance, rtol=1e-7, atol=1e-12)
    assert kalman.mean[4] == pytest.approx(3, abs=0.3)  # pixels a frame to the right


# --- similarity pruning


def distinct(frame_idx: int) -> torch.Tensor:
    return torch.randn(16, 64, generator=torch.Generator().manual_seed(frame_idx)).bfloat16()


def pruning_bank(tokens: dict[int, torch.Tensor]) -> ObjectBank:
    return ObjectBank({0: memory(0, tokens=distinct(0))}, {t: memory(t, tokens=v) for t, v in tokens.items()})


def test_memories_like_the_newest_are_not_read():
    bank = pruning_bank({t: distinct(6 if t in (2, 4) else t) for t in range(1, 7)})
    assert read(RecentFrames(), bank, 7) == [(-1, 0), (5, 1), (4, 2), (3, 3), (2, 4), (1, 5), (0, 6)]
    assert read(SimilarityPruning(), bank, 7) == [(-1, 0), (5, 1), (3, 3), (1, 5), (0, 6)]
    assert len(SimilarityPruning().recall(bank, Moment(7)).pointers) == 7


def test_of_equal_memories_the_earlier_are_left_out():
    bank = pruning_bank({t: distinct(6) for t in range(1, 7)})
    assert frames_read(SimilarityPruning(), bank, 7) == [0, 3, 4, 5, 6]


def test_a_bank_that_is_not_full_is_read_whole():
    bank = pruning_bank({t: distinct(6) for t in range(1, 6)})
    assert frames_read(SimilarityPruning(), bank, 6) == [0, 1, 2, 3, 4, 5]


def test_pruning_nothing_is_recency():
    bank = pruning_bank({t: distinct(6) for t in range(1, 9)})
    assert read(SimilarityPruning(pruned_frames=0), bank, 9) == read(RecentFrames(), bank, 9)


def test_similarity_rounds_to_eight_bits_and_halves_up():
    ones = torch.ones(254, 64).bfloat16()
    assert token_similarity(ones, ones) == 254
    half = torch.ones(1, 64).bfloat16()
    half[0, 16:] = 0  # a cosine of exactly 0.5
    assert token_similarity(torch.cat((ones, half)), torch.cat((ones, torch.ones(1, 64).bfloat16()))) == 255
    many = ones.repeat(4, 1)[:1001]  # steps of 4 from 512 on
    assert token_similarity(many, many) == 1000
    assert token_similarity(-ones, ones) == -254


@pytest.mark.parametrize(("cosine", "rounded"), [(0.496, 255), (0.484, 254)])
def test_similarity_takes_what_is_a_last_bit_below_a_half_for_the_half(cosine, rounded):
    ones = torch.ones(254, 64).bfloat16()
    one, other = torch.zeros(2, 1, 64).bfloat16()
    one[0, 0] = 1
    other[0, 0], other[0, 1] = cosine, math.sqrt(1 - cosine**2)
    assert token_similarity(torch.cat((ones, one)), torch.cat((ones, other))) == rounded


def test_pruned_memories_can_be_freed_at_once():
    policy, keeps = SimilarityPruning(frees_pruned=True), SimilarityPruning()
    banks = [ObjectBank({0: memory(0, tokens=distinct(0))}) for _ in range(2)]
    for t in range(1, 30):
        for each, bank in zip((policy, keeps), banks, strict=True):
            bank.remember(memory(t, tokens=distinct(t // 3)))
            each.evict(bank, Moment(t))
    freed, kept = (sum(f.tokens_nc is not None for f in bank.tracked.values()) for bank in banks)
    assert freed <= 6 < kept
    assert len(frames_read(policy, banks[0], 30)) >= 5


# --- motion-aware


def follow_to_the_right(policy, bank: ObjectBank, frames: range, **changes) -> None:
    for t in frames:
        step(policy, bank, t, offer((square(2 * t, 20), 0.9), **changes))


def test_a_look_alike_that_crosses_does_not_take_over():
    """The look-alike's candidate scores higher; the object's lies where it was headed."""
    crossing = offer((square(50, 40), 0.92), (square(36, 20), 0.85))
    for policy, want in ((MotionAware(), 1), (MotionAware(motion_weight=0.0), 0)):
        bank = prompted_bank(policy)
        follow_to_the_right(policy, bank, range(1, 18))
        (branch,) = step(policy, bank, 18, crossing)
        assert branch.candidate == want


def test_motion_counts_only_after_the_warm_up():
    policy = MotionAware()
    bank = prompted_bank(policy)
    follow_to_the_right(policy, bank, range(1, 15))
    (branch,) = step(policy, bank, 15, offer((square(50, 40), 0.92), (square(30, 20), 0.85)))
    assert branch.candidate == 0


def test_a_weak_frame_starts_the_filter_afresh():
    policy = MotionAware()
    bank = prompted_bank(policy)
    follow_to_the_right(policy, bank, range(1, 18))
    assert bank.notes["stable"] == 17
    step(policy, bank, 18, offer((square(36, 20), 0.2)))
    assert bank.notes["stable"] == 0
    step(policy, bank, 19, offer((NOTHING, 0.9)))
    assert bank.notes["stable"] == 0
    follow_to_the_right(policy, bank, range(20, 22))
    assert bank.notes["stable"] == 2


@pytest.mark.parametrize("policy", [MotionAware(), MemoryTree(paths=1)])
def test_a_long_occlusion_does_not_wash_the_object_out_of_the_bank(policy):
    """Forty frames without the object: plain recency then knows nothing but its absence."""
    bank, plain = prompted_bank(policy), prompted_bank(RecentFrames())
    for t in range(1, 61):
        is_hidden = t > 20
        what = offer((square(20, 20), 0.05 if is_hidden else 0.9), score=-6.0 if is_hidden else 6.0)
        step(policy, bank, t, what)
        plain.remember(memory(t))
        RecentFrames().evict(plain, Moment(t))
    assert frames_read(RecentFrames(), plain, 61) == [0, 55, 56, 57, 58, 59, 60]
    assert read(policy, bank, 61) == [(-1, 0), (5, 16), (4, 17), (3, 18), (2, 19), (1, 20), (0, 60)]
    assert len(bank.tracked) <= 25


def test_the_motion_gate_is_an_option():
    for policy, has_gate in ((MotionAware(gates_motion=True), True), (MotionAware(), False)):
        bank = prompted_bank(policy)
        follow_to_the_right(policy, bank, range(1, 18))
        step(policy, bank, 18, offer((square(2, 50), 0.9)))  # a leap: the boxes do not meet
        follow_to_the_right(policy, bank, range(19, 21))
        assert (18 in frames_read(policy, bank, 21)) is not has_gate


# --- distractor-aware


BIG, TWIN = square(10, 10, 16), square(44, 44, 14)


def test_recent_memories_lie_apart_and_skip_frames_without_the_object():
    policy = DistractorAware()
    bank = prompted_bank(policy)
    for t in range(1, 61):
        is_hidden = 33 <= t <= 46
        step(policy, bank, t, offer((BIG, 0.9), score=-5.0 if is_hidden else 5.0))
    assert read(policy, bank, 61) == [(-1, 0), (5, 20), (4, 25), (3, 30), (2, 50), (1, 55), (0, 60)]
    assert [f.frame_idx for _, f in policy.recall(bank, Moment(61)).pointers] == [0, *range(60, 46, -1)]


def test_a_frame_on_which_a_look_alike_was_resolved_becomes_an_anchor():
    policy = DistractorAware()
    bank = prompted_bank(policy)
    for t in range(1, 41):
        alternatives = [(TWIN, 0.6)] if t in (12, 14, 24) else []
        step(policy, bank, t, offer((BIG, 0.9), *alternatives))
    # 14 came too soon after 12.
    assert bank.notes["anchors"] == [12, 24]
    assert read(policy, bank, 41)[:3] == [(-1, 0), (-1, 12), (-1, 24)]
    assert frames_read(policy, bank, 41)[3:] == [25, 30, 35, 40]
    assert frames_read(RecentFrames(), bank, 41)[-1:] == [40]


@pytest.mark.parametrize(
    "what",
    [
        offer((BIG, 0.7), (TWIN, 0.6)),  # not trusted
        offer((square(10, 10, 20), 0.9), (TWIN, 0.6)),  # the area jumps
        offer((BIG, 0.9), (square(12, 12, 16), 0.6)),  # nothing else was seen
        offer((BIG, 0.9), (TWIN, 0.6), score=-1.0),  # not there
    ],
)
def test_other_frames_do_not_become_anchors(what):
    policy = DistractorAware()
    bank = prompted_bank(policy)
    for t in range(1, 12):
        step(policy, bank, t, offer((BIG, 0.9)))
    step(policy, bank, 12, what)
    assert bank.notes["anchors"] == []


def test_anchors_are_few_and_the_frame_before_is_none():
    policy = DistractorAware()
    bank = prompted_bank(policy)
    for t in range(1, 62):
        step(policy, bank, t, offer((BIG, 0.9), (TWIN, 0.6)))
    assert [t for slot, t in read(policy, bank, 62) if slot == -1] == [0, 48, 54, 60]
    assert [t for slot, t in read(policy, bank, 61) if slot == -1] == [0, 42, 48, 54]
    assert len(read(policy, bank, 62)) == 7


# --- the memory tree


def test_certain_paths_agree_and_share_their_memories():
    policy = MemoryTree()
    bank = prompted_bank(policy)
    for t in range(1, 12):
        step(policy, bank, t, *[offer((BIG, 0.9), (TWIN, 0.5))] * len(bank.hypotheses))
    assert len(bank.hypotheses) == 3
    assert {id(h.tracked[11]) for h in bank.hypotheses} == {id(bank.tracked[11])}
    alone = ObjectBank(bank.conditioning, bank.tracked)
    assert bank.num_bytes() == alone.num_bytes()


def test_in_doubt_different_branches_go_on():
    policy = MemoryTree()
    bank = prompted_bank(policy)
    step(policy, bank, 1, offer((BIG, 0.9), (TWIN, 0.8)))
    doubt = offer((BIG, 0.7), (TWIN, 0.6), (NOTHING, 0.3), score=1.0)
    branches = step(policy, bank, 2, *[doubt] * 3)
    assert [b.candidate for b in branches] == [0, 1, 2]
    certain = offer((BIG, 0.7), (TWIN, 0.6), (NOTHING, 0.3), score=2.5)
    branches = step(policy, bank, 3, *[certain] * 3)
    assert [(b.hypothesis, b.candidate) for b in branches] == [(0, 0), (0, 1), (1, 0)]


def test_the_path_with_the_better_record_takes_over():
    """After a scene change the look-alike's candidate seems best; the frames after tell which one it was."""
    policy = MemoryTree()
    bank = prompted_bank(policy)
    step(policy, bank, 1, offer((BIG, 0.9)))
    step(policy, bank, 2, *[offer((TWIN, 0.7), (BIG, 0.65), score=1.0)] * 3)
    right = bank.rivals[0].tracked[2]
    assert bank.tracked[2].predicted_iou == 0.7
    offers = [offer((TWIN, 0.4)), offer((BIG, 0.95)), offer((NOTHING, 0.05))]
    step(policy, bank, 3, *offers)
    assert bank.tracked[2] is right
    assert bank.notes["score"] == pytest.approx(np.log([0.65001, 0.95001]).sum())


def test_keys_are_scaled_by_the_rank_of_the_object_score():
    policy = MemoryTree(paths=1)
    bank = prompted_bank(policy)
    for t, score in ((1, 3.0), (2, 6.0), (3, 4.0), (4, 5.0)):
        step(policy, bank, t, offer((BIG, 0.9), score=score))
    recall = policy.recall(bank, Moment(5))
    assert [f.frame_idx for _, f in recall.spatial] == [0, 1, 2, 3, 4]
    assert recall.key_scales is not None
    assert recall.key_scales[0] == pytest.approx([1.05, 0.95, 1.025, 0.975, 1.0])
    assert [f.frame_idx for _, f in recall.pointers] == [0, 4, 3, 2, 1]
    assert recall.key_scales[1] == pytest.approx([1.05, 1.0, 0.975, 1.025, 0.95])


def test_a_prompt_ends_all_doubt():
    policy = MemoryTree()
    bank = prompted_bank(policy)
    for t in range(1, 4):
        step(policy, bank, t, *[offer((BIG, 0.7), (TWIN, 0.6), score=1.0)] * len(bank.hypotheses))
    bank.end_doubt()
    policy.note_prompt(bank, bank.tracked[3])
    step(policy, bank, 4, offer((BIG, 0.7), (TWIN, 0.6), score=1.0))
    assert {h.notes["score"] for h in bank.hypotheses} == {0.0}


def test_the_tree_is_bounded_in_doubt():
    policy = MemoryTree()
    bank = prompted_bank(policy)
    sizes = []
    for t in range(1, 80):
        ious = 0.5 + 0.4 * torch.rand(3, generator=torch.Generator().manual_seed(t))
        what = offer((BIG, ious[0].item()), (TWIN, ious[1].item()), (NOTHING, ious[2].item()), score=1.0)
        step(policy, bank, t, *[what] * len(bank.hypotheses))
        sizes.append(bank.num_bytes())
    assert max(sizes[40:]) <= max(sizes[:40])
    single = 18 * (4 * 64 * 2 + 8 * 4)
    assert max(sizes) <= 3 * single
