"""Routes through a session that must agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from support.parity import NOISE, VIDEO_HW, as_frames, moving_picture, small_tracker
from vidseg.memory.bank import RecentFrames
from vidseg.trackers.contract import Frame, FrameResult
from vidseg.trackers.engine import Engine
from vidseg.trackers.engine_tracker import EngineTracker

SIZE = 64
NUM_FRAMES = 44
BOX = {"box": [20.0, 10.0, 60.0, 50.0]}
CLICKS = {"points": [[30.0, 30.0], [80.0, 5.0]], "labels": [1, 0]}
CLICK = {"points": [[70.0, 40.0]], "labels": [1]}
MEAN_NOISE = 1e-4
"""Root-mean-square, as a share of the logits' deviation; measured: up to 5e-5."""


def make_mask(shift: int = 0) -> dict[str, Any]:
    mask = np.zeros(VIDEO_HW, bool)
    mask[15 + shift : 45, 25:70] = True
    return {"mask": mask}


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    return small_tracker(tmp_path_factory.mktemp("tracker"))


@pytest.fixture(scope="module")
def frames():
    return as_frames(moving_picture(NUM_FRAMES, SIZE))


def with_policy(tracker: Any, **policy: Any) -> EngineTracker:
    engine = Engine(tracker.engine.model, RecentFrames(**policy))
    return EngineTracker(tracker.name, tracker.settings, engine, tracker.options, None)


def row(result: FrameResult, obj_id: int) -> np.ndarray:
    return result.low_res_logits[result.obj_ids.index(obj_id)]


def assert_near(want: np.ndarray, got: np.ndarray, what: str = "") -> None:
    """Equal up to float noise, and not because nothing is there."""
    assert (want > -1000).all(), f"{what}: the object is absent, which proves little"
    error = np.abs(want - got).max() / want.std()
    assert error < NOISE, f"{what}: differs by {error:.1e} of the deviation"
    error = np.sqrt(np.mean((want - got) ** 2)) / want.std()
    assert error < MEAN_NOISE, f"{what}: differs by {error:.1e} of the deviation, root-mean-square"


def assert_same_results(want: Sequence[FrameResult], got: Sequence[FrameResult]) -> None:
    for one, other in zip(want, got, strict=True):
        assert one.obj_ids == other.obj_ids
        assert one.frame_idx == other.frame_idx
        assert np.array_equal(one.low_res_logits, other.low_res_logits), f"frame {one.frame_idx}"
        assert np.array_equal(one.object_score_logits, other.object_score_logits)
        assert np.array_equal(one.object_pointers, other.object_pointers)


def tell_a_story(session: Any, frames: Sequence[Frame]) -> list[FrameResult]:
    """Objects come, are corrected, prompted anew, and go, over a whole video; frames in the order given."""
    results = []
    session.prompt(1, **BOX)
    session.prompt(5, **make_mask())
    for count, frame in enumerate(frames):
        if count == 9:
            session.prompt(3, **CLICKS)
        if count == 30:
            session.prompt(1, **CLICK)
        if count == 35:
            session.remove(5)
        results.append(session.step(frame))
        if count == 20:
            results.append(session.refine(1, **CLICK))
        if count == 33:
            results.append(session.refine(3, **BOX))
    return results


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("policy", [{}, {"stride": 3, "max_conditioning": 2}])
def test_forgetting_changes_nothing(tracker, frames, reverse, policy):
    """Masks are the very same whether a session forgets what is out of reach or keeps all."""
    changed = with_policy(tracker, **policy)
    order = frames[::-1] if reverse else frames
    sessions = [changed.start(NUM_FRAMES, reverse, keep_all=keeps) for keeps in (True, False)]
    want, got = (tell_a_story(session, order) for session in sessions)
    assert_same_results(want, got)
    kept, bounded = (session.banks[1].num_bytes() for session in sessions)
    assert bounded < kept / 2


def test_conditioning_frames_under_a_cap_are_forgotten_without_effect(tracker, frames):
    changed = with_policy(tracker, max_conditioning=2, max_pointers=4, recent_frames=6)
    sessions = [changed.start(NUM_FRAMES, keep_all=keeps) for keeps in (True, False)]
    results: list[list[FrameResult]] = [[], []]
    for session, told in zip(sessions, results, strict=True):
        for frame in frames[:30]:
            if frame.index % 6 == 0:
                session.prompt(1, **(BOX if frame.index % 12 else CLICKS))
            told.append(session.step(frame))
    assert_same_results(*results)
    kept, bounded = (len(session.banks[1].conditioning) for session in sessions)
    assert (kept, bounded) == (5, 2)


def test_streaming_equals_two_phases(tracker, frames):
    """All prompts first and tracking then, as the official predictor does, or each when its frame comes."""
    first, second = tracker.start(12), tracker.start(12, keep_all=True)
    for obj_id, prompt in ((1, BOX), (2, make_mask()), (7, CLICKS)):
        second.prompt(obj_id, **prompt)
        second.condition(frames[0])
        first.prompt(obj_id, **prompt)
    for frame in frames[:12]:
        assert_same_results([second.step(frame)], [first.step(frame)])


def test_a_conditioned_frame_gives_the_same_when_tracking_arrives(tracker, frames):
    session = tracker.start(12)
    session.prompt(1, **BOX)
    session.condition(frames[0])
    session.prompt(1, **CLICKS)
    ahead = session.condition(frames[5])
    results = [session.step(frame) for frame in frames[:8]]
    assert np.array_equal(row(ahead, 1), row(results[5], 1))
    assert session.banks[1].conditioning.keys() == {0, 5}


def test_objects_together_equal_each_alone(tracker, frames):
    """Also those that come later, so that banks of several shapes are open at once."""
    prompts = {1: (0, BOX), 2: (0, make_mask()), 3: (4, CLICKS), 4: (6, make_mask(10))}

    def run(obj_ids: Sequence[int]) -> list[FrameResult]:
        session = tracker.start(12)
        results = []
        for frame in frames[:12]:
            for obj_id in obj_ids:
                if prompts[obj_id][0] == frame.index:
                    session.prompt(obj_id, **prompts[obj_id][1])
            results.append(session.step(frame))
        return results

    together = run([1, 2, 3, 4])
    for obj_id, (start, _) in prompts.items():
        for alone, all_of_them in zip(run([obj_id])[start:], together[start:], strict=True):
            assert_near(row(alone, obj_id), row(all_of_them, obj_id), f"object {obj_id}")


def test_order_of_objects_is_irrelevant(tracker, frames):
    def run(order: Sequence[int]) -> FrameResult:
        session = tracker.start(8)
        prompts = {1: BOX, 2: make_mask(), 3: CLICKS}
        for obj_id in order:
            session.prompt(obj_id, **prompts[obj_id])
        return [session.step(frame) for frame in frames[:8]][-1]

    one, other = run([1, 2, 3]), run([3, 1, 2])
    assert one.obj_ids == [1, 2, 3]
    assert other.obj_ids == [3, 1, 2]
    for obj_id in (1, 2, 3):
        assert_near(row(one, obj_id), row(other, obj_id))
        pointers = [r.object_pointers[r.obj_ids.index(obj_id)] for r in (one, other)]
        assert_near(*pointers)


def test_removing_an_object_leaves_the_others_as_they_were(tracker, frames):
    def run(remove_at: int | None) -> list[FrameResult]:
        session = tracker.start(10)
        session.prompt(1, **BOX)
        session.prompt(2, **make_mask())
        results = []
        for frame in frames[:10]:
            if frame.index == remove_at:
                session.remove(1)
            results.append(session.step(frame))
        return results

    for kept, removed in zip(run(None), run(4), strict=True):
        assert removed.obj_ids == ([1, 2] if kept.frame_idx < 4 else [2])
        assert_near(row(kept, 2), row(removed, 2))


def test_an_object_removed_and_prompted_again_starts_afresh(tracker, frames):
    session, fresh = tracker.start(10), tracker.start(10)
    session.prompt(1, **BOX)
    for frame in frames[:4]:
        session.step(frame)
    session.remove(1)
    for each in (session, fresh):
        each.prompt(1, **CLICKS)
    for frame in frames[4:10]:
        assert_same_results([fresh.step(frame)], [session.step(frame)])


@pytest.mark.parametrize("count", [0, 1, 7, 19])
def test_going_on_after_restore_is_bit_identical(tracker, frames, tmp_path, count):
    """At any frame; with prompts that wait and a conditioned frame that lies ahead."""
    session = tracker.start(NUM_FRAMES)
    session.prompt(1, **BOX)
    session.prompt(8, **make_mask())
    session.condition(frames[0])
    session.prompt(1, **CLICKS)
    session.condition(frames[21])
    for frame in frames[:count]:
        session.step(frame)
    session.prompt(3, **BOX)
    session.prompt(3, **CLICK)
    session.prompt(4, **make_mask(8))
    session.save(tmp_path / "state.safetensors")
    restored = tracker.restore(tmp_path / "state.safetensors")
    for frame in frames[count : count + 6]:
        assert_same_results([session.step(frame)], [restored.step(frame)])
    assert restored.obj_ids == [1, 8, 3, 4]


def test_going_on_in_reverse_and_twice_restored(tracker, frames, tmp_path):
    session = tracker.start(reverse=True)
    session.prompt(2, **CLICKS)
    other = session
    for count, frame in enumerate(frames[30:10:-1]):
        if count in (3, 17):
            other.save(tmp_path / "state")
            other = tracker.restore(tmp_path / "state")
        assert_same_results(
            [session.step(frame)], [other.step(frame)] if other is not session else [session._result(frame)]
        )


def test_state_stops_growing(tracker, frames, tmp_path):
    """In bytes of the bank and of the file: 15 pointers and 6 memories back, whatever the video's length."""
    session = tracker.start()
    session.prompt(1, **BOX)
    session.prompt(2, **make_mask())
    sizes = []
    for frame in frames:
        session.step(frame)
        session.save(tmp_path / "state")
        sizes.append(
            ((tmp_path / "state").stat().st_size, sum(b.num_bytes() for b in session.banks.values()))
        )
    in_file, in_bank = (set(values[20:]) for values in zip(*sizes, strict=True))
    assert len(in_bank) == 1
    assert max(in_file) - min(in_file) < 1000  # digits of frame numbers and scores
    assert max(in_file) < 2_000_000


@pytest.fixture
def attention_calls(tracker):
    """Batch size of every call of the memory attention and of the mask decoder."""
    calls: dict[str, list[int]] = {"attention": [], "decoder": []}
    model = tracker.engine.model
    hooks = [
        model.memory_attention.register_forward_hook(
            lambda m, i, out: calls["attention"].append(out.shape[0])
        ),
        model.sam_mask_decoder.register_forward_hook(
            lambda m, i, out: calls["decoder"].append(out.predicted_ious_bk.shape[0])
        ),
    ]
    yield calls
    for hook in hooks:
        hook.remove()


def test_twenty_objects_are_one_batch(tracker, frames, attention_calls):
    session = tracker.start()
    for obj_id in range(20):
        session.prompt(obj_id, box=[2.0 * obj_id, 10.0, 2.0 * obj_id + 30, 40.0])
    session.step(frames[0])
    for calls in attention_calls.values():
        calls.clear()
    for frame in frames[1:4]:
        assert len(session.step(frame).obj_ids) == 20
    assert attention_calls == {"attention": [20, 20, 20], "decoder": [20, 20, 20]}


def test_objects_are_grouped_where_their_banks_differ(tracker, frames, attention_calls):
    session = tracker.start()
    for obj_id in (1, 2, 3):
        session.prompt(obj_id, **BOX)
    session.step(frames[0])
    session.prompt(4, **BOX)
    session.prompt(5, **BOX)
    session.step(frames[1])
    attention_calls["attention"].clear()
    result = session.step(frames[2])
    assert result.obj_ids == [1, 2, 3, 4, 5]
    assert sorted(attention_calls["attention"]) == [2, 3]
    for _ in range(20):
        session.step(frames[session.last_frame_idx + 1])
    attention_calls["attention"].clear()
    session.step(frames[23])
    assert attention_calls["attention"] == [5]  # the banks have filled up alike


def test_a_frame_without_objects_costs_nothing(tracker, frames, monkeypatch):
    def fail(*_: Any) -> None:
        raise AssertionError("the image was encoded")

    session = tracker.start()
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "encode", fail)
        result = session.step(frames[0])
    assert result.obj_ids == []
    assert result.masks.shape == (0, *VIDEO_HW)
    assert session.refine(1, **BOX).obj_ids == [1]  # and yet an object can be found on it afterwards


def test_video_length_counts_below_sixteen_frames_alone(tracker, frames):
    """SAM 2.1 scales the times of pointers by the length of short clips; a stream is long."""

    def last(num_frames: int | None) -> np.ndarray:
        session = tracker.start(num_frames)
        session.prompt(1, **BOX)
        return [session.step(frame) for frame in frames[:6]][-1].low_res_logits

    assert np.array_equal(last(None), last(16))
    assert np.array_equal(last(None), last(1000))
    assert not np.array_equal(last(None), last(6))


def test_results_do_not_change_later(tracker, frames):
    session = tracker.start()
    session.prompt(1, **BOX)
    result = session.step(frames[0])
    before = result.low_res_logits.copy()
    session.refine(1, **CLICKS)
    for frame in frames[1:4]:
        session.step(frame)
    assert np.array_equal(before, result.low_res_logits)
    assert np.array_equal(result.masks, result.video_res_logits > 0)


def test_threads_leave_masks_alone(tracker, frames):
    def last() -> np.ndarray:
        session = tracker.start()
        session.prompt(1, **BOX)
        return [session.step(frame) for frame in frames[:4]][-1].low_res_logits

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = last()
        torch.set_num_threads(2)
        two = last()
    finally:
        torch.set_num_threads(threads)
    assert_near(one, two)
