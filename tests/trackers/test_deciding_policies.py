"""Policies that choose candidates or follow several hypotheses, in the engine: routes that must agree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

import vidseg
from support.parity import NOISE, VIDEO_HW, as_frames, moving_picture, small_tracker
from vidseg.memory.bank import RecentFrames
from vidseg.memory.policies.distractor_aware import DistractorAware
from vidseg.memory.policies.memory_tree import MemoryTree
from vidseg.memory.policies.motion_aware import MotionAware
from vidseg.trackers.engine import Engine
from vidseg.trackers.engine_tracker import EngineTracker

NUM_FRAMES = 34
BOX = {"box": [20.0, 10.0, 60.0, 50.0]}
CLICK = {"points": [[70.0, 40.0]], "labels": [1]}

POLICIES = {
    "distractor-aware": DistractorAware(min_anchor_iou=0.0, max_area_change=9.0, max_alternative_iou=1.0),
    "memory-tree": MemoryTree(),
    "memory-tree-in-doubt": MemoryTree(certain_score=1e9),
    "motion-aware": MotionAware(warm_up=3, min_memory_iou=0.0, min_stable_iou=0.0),
}
"""Under constants with which random weights reach every branch."""

AS_RECENT_FRAMES = {
    "distractor-aware": DistractorAware(stride=1, max_anchors=1),
    "memory-tree": MemoryTree(paths=1, min_memory_iou=-1.0, key_scale_range=(1.0, 1.0)),
    "motion-aware": MotionAware(motion_weight=0.0, min_memory_iou=-1.0),
}
"""Under constants with which all that a policy adds is switched off."""


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    return small_tracker(tmp_path_factory.mktemp("tracker"))


@pytest.fixture(scope="module")
def frames():
    return as_frames(moving_picture(NUM_FRAMES, 64))


def mask() -> dict[str, Any]:
    picture = np.zeros(VIDEO_HW, bool)
    picture[15:45, 25:70] = True
    return {"mask": picture}


def with_policy(tracker: Any, policy: Any) -> EngineTracker:
    engine = Engine(tracker.engine.model, policy)
    return EngineTracker(tracker.name, tracker.settings, engine, tracker.options, None)


def tell_a_story(session: Any, frames: Sequence[Any]) -> list[Any]:
    results = []
    session.prompt(1, **BOX)
    session.prompt(5, **mask())
    for count, frame in enumerate(frames):
        if count == 9:
            session.prompt(3, **BOX)
        if count == 24:
            session.prompt(1, **CLICK)
        if count == 27:
            session.remove(5)
        results.append(session.step(frame))
        if count == 18:
            results.append(session.refine(1, **CLICK))
    return results


def assert_same(want: Sequence[Any], got: Sequence[Any]) -> None:
    for one, other in zip(want, got, strict=True):
        assert one.obj_ids == other.obj_ids
        assert (one.low_res_logits > -1000).all(), "an absent object proves little"
        assert np.array_equal(one.low_res_logits, other.low_res_logits), f"frame {one.frame_idx}"


def assert_near(want: Sequence[Any], got: Sequence[Any]) -> None:
    for one, other in zip(want, got, strict=True):
        error = np.abs(one.low_res_logits - other.low_res_logits).max() / one.low_res_logits.std()
        assert error < NOISE, f"frame {one.frame_idx}: differs by {error:.1e} of the deviation"


@pytest.fixture(scope="module")
def told(tracker, frames):
    """A policy's name (None: plain recency) -> its session and what it answered, forward, once for all."""

    @cache
    def tell(name: str | None) -> tuple[Any, list[Any]]:
        session = with_policy(tracker, POLICIES[name] if name else RecentFrames()).start()
        return session, tell_a_story(session, frames)

    return tell


@pytest.mark.parametrize("reverse", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", POLICIES)
def test_forgetting_changes_nothing(tracker, frames, told, name, reverse):
    changed = with_policy(tracker, POLICIES[name])
    order = frames[::-1] if reverse else frames
    kept = changed.start(reverse=reverse, keep_all=True)
    if reverse:
        bounded = changed.start(reverse=True)
        answers = tell_a_story(bounded, order)
    else:
        bounded, answers = told(name)
    assert_same(tell_a_story(kept, order), answers)
    assert bounded.banks[1].num_bytes() < kept.banks[1].num_bytes()


@pytest.mark.parametrize("name", POLICIES)
def test_going_on_after_restore_is_bit_identical(tracker, frames, tmp_path, name):
    changed = with_policy(tracker, POLICIES[name])
    session = changed.start()
    session.prompt(1, **BOX)
    session.prompt(5, **mask())
    for frame in frames[:20]:
        session.step(frame)
    session.save(tmp_path / "state")
    restored = changed.restore(tmp_path / "state")
    assert restored.banks[1].notes == session.banks[1].notes
    assert restored.banks[1].num_bytes() == session.banks[1].num_bytes()
    for frame in frames[20:28]:
        assert_same([session.step(frame)], [restored.step(frame)])


@pytest.mark.parametrize("name", POLICIES)
def test_each_differs_from_plain_recency(told, name):
    plain, other = (told(each)[1][13] for each in (None, name))
    assert not np.array_equal(plain.low_res_logits, other.low_res_logits)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [DistractorAware(), MemoryTree(), MotionAware()])
def test_a_tracker_with_it_keeps_the_contract(tracker, policy):
    vidseg.check_tracker(with_policy(tracker, policy))


@pytest.mark.parametrize("name", AS_RECENT_FRAMES)
def test_switched_off_it_is_plain_recency(tracker, frames, told, name):
    """Up to the second prompted frame: recency counts the slots back past it, these policies in order."""
    switched_off = with_policy(tracker, AS_RECENT_FRAMES[name])
    answers = tell_a_story(switched_off.start(), frames[:24])
    assert_near(told(None)[1][: len(answers)], answers)


@pytest.mark.parametrize("name", POLICIES)
def test_objects_together_equal_each_alone(tracker, frames, name):
    def run(*obj_ids: int) -> list[np.ndarray]:
        session = with_policy(tracker, POLICIES[name]).start()
        for obj_id in obj_ids:
            session.prompt(obj_id, **{1: BOX, 2: mask()}[obj_id])
        return [session.step(frame).low_res_logits[-1] for frame in frames[:12]]

    for alone, together in zip(run(2), run(1, 2), strict=True):
        assert np.abs(alone - together).max() < NOISE * alone.std()


@pytest.fixture
def decoder_calls(tracker):
    """Batch size of every call of the mask decoder."""
    calls: list[int] = []
    hook = tracker.engine.model.sam_mask_decoder.register_forward_hook(
        lambda m, i, out: calls.append(out.predicted_ious_bk.shape[0])
    )
    yield calls
    hook.remove()


def test_paths_that_agree_are_decoded_once_and_others_in_one_batch(tracker, frames, decoder_calls):
    def batches(policy: MemoryTree) -> list[int]:
        session = with_policy(tracker, policy).start()
        session.prompt(1, **BOX)
        session.step(frames[0])
        decoder_calls.clear()
        for frame in frames[1:5]:
            session.step(frame)
        return list(decoder_calls)

    assert batches(MemoryTree(certain_score=0.0)) == [1, 1, 1, 1]
    assert batches(MemoryTree(certain_score=1e9)) == [1, 1, 3, 3]
