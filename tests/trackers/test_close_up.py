"""Following objects in a close-up: what is looked at, while results are of the whole picture."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vidseg
from support.training import call_nothing_absent, space_time_tracker, tracker_yaml
from vidseg.errors import ConfigError, InputError
from vidseg.eval.metrics import region_j
from vidseg.pipeline.made_video import MadeVideo
from vidseg.trackers.close_up import result as close_up_result
from vidseg.trackers.close_up import session as close_up_session
from vidseg.trackers.close_up.choice import MOST_WIDENING, view_after, view_of
from vidseg.trackers.close_up.result import CloseUpResult
from vidseg.trackers.close_up.session import CloseUpSession
from vidseg.trackers.contract import Prompt
from vidseg.trackers.view import OUTSIDE, View, seen_from

SIZE_HW = (240, 400)
WHOLE = View.whole(SIZE_HW)
PART = View(120, 60, 320, 180, SIZE_HW)
SIDE = 32

views = st.builds(
    lambda x, y, w, h: View(x, y, min(x + w, 400), min(y + h, 240), SIZE_HW),
    *(st.integers(0, 300), st.integers(0, 160), st.integers(80, 400), st.integers(80, 240)),
)


def disk(x: float, y: float, radius: float, view: View = WHOLE) -> np.ndarray:
    """A disk, in pixels of the picture, on a grid over a view."""
    cells = (np.arange(SIDE) + 0.5) / SIDE
    columns = view.left + view.part_hw[1] * cells
    rows = view.top + view.part_hw[0] * cells
    return (columns[None] - x) ** 2 + (rows[:, None] - y) ** 2 < radius**2


@given(views, views)
def test_masks_lie_in_another_view_where_they_lay(view: View, other: View) -> None:
    """A plane of logits is the same plane from everywhere, as far as both views see it."""

    def plane(of: View) -> torch.Tensor:
        cells = (torch.arange(SIDE) + 0.5) / SIDE
        x, y = of.left + of.part_hw[1] * cells, of.top + of.part_hw[0] * cells
        return (0.01 * x[None] - 0.015 * y[:, None])[None]

    got = seen_from(view, plane(view), other)[0]
    cell_h, cell_w = (2 * max(view.part_hw[k], other.part_hw[k]) / SIDE for k in (0, 1))
    cells = (np.arange(SIDE) + 0.5) / SIDE
    x, y = other.left + other.part_hw[1] * cells, other.top + other.part_hw[0] * cells
    in_x = (x > view.left + cell_w) & (x < view.right - cell_w)
    in_y = (y > view.top + cell_h) & (y < view.bottom - cell_h)
    is_inside = torch.from_numpy(in_y[:, None] & in_x[None])
    assert torch.allclose(got[is_inside], plane(other)[0][is_inside], atol=1e-3)
    if view.part_hw >= other.part_hw:  # else a cell may reach over the edge
        is_outside = torch.from_numpy((x < view.left - cell_w) | (x > view.right + cell_w))[None]
        assert (got[is_outside.expand_as(got)] == OUTSIDE).all()


@given(views, st.integers(10, 3000), st.integers(10, 3000))
def test_a_view_stays_within_a_picture_of_another_size(view: View, height: int, width: int) -> None:
    there = view.on((height, width))
    assert 0 <= there.left < there.right <= width
    assert 0 <= there.top < there.bottom <= height
    assert WHOLE.on((height, width)).is_whole
    assert view.on(SIZE_HW) == view


@given(views, views)
def test_places_agree_with_masks(view: View, other: View) -> None:
    (x, y), (dx, dy) = view.places_in(other, SIDE)
    corner = SIDE * np.array([200 - view.left, 120 - view.top]) / view.part_hw[::-1]
    there = SIDE * np.array([200 - other.left, 120 - other.top]) / other.part_hw[::-1]
    np.testing.assert_allclose(corner * (x, y) + (dx, dy), there, atol=1e-6)


def test_the_view_is_around_the_object_and_stays_while_it_holds_it() -> None:
    view, sizes = view_after({1: disk(200, 120, 30)}, WHOLE, {})
    assert not view.is_whole
    assert view.left < 164
    assert view.right > 236
    assert view.part_hw[0] < 120
    same, _ = view_after({1: disk(202, 120, 30, view)}, view, sizes)
    assert same == view
    moved, _ = view_after({1: disk(200, 128, 30, view)}, view, sizes)
    assert moved.top > view.top


def test_the_view_grows_as_the_object_is_hidden() -> None:
    view, sizes = view_after({1: disk(200, 120, 30)}, WHOLE, {})
    hidden = disk(200, 120, 30, view)
    hidden[:, : SIDE // 2 + 3] = False
    wider, _ = view_after({1: hidden}, view, sizes)
    assert view.part_hw[0] < wider.part_hw[0] <= MOST_WIDENING * view.part_hw[0]


@pytest.mark.parametrize(
    "masks",
    [
        {},
        {1: disk(200, 120, 30), 2: np.zeros((SIDE, SIDE), bool)},
        {1: disk(40, 40, 18), 2: disk(360, 200, 18)},
    ],
)
def test_all_of_the_picture_is_seen_if_an_object_is_out_of_sight_or_they_are_far_apart(masks: Any) -> None:
    assert view_after(masks, WHOLE, {})[0].is_whole


@given(
    st.lists(
        st.tuples(st.integers(0, 399), st.integers(0, 239), st.integers(4, 120)), min_size=1, max_size=3
    ),
    views,
)
def test_every_view_holds_what_it_was_chosen_for(disks: list[tuple[int, int, int]], seen: View) -> None:
    masks = {number: disk(*each, seen) for number, each in enumerate(disks)}
    view, _ = view_after(masks, seen, {})
    assert 0 <= view.left < view.right <= SIZE_HW[1]
    assert 0 <= view.top < view.bottom <= SIZE_HW[0]
    for mask in masks.values():
        logits = torch.from_numpy(np.where(mask, 10.0, OUTSIDE).astype(np.float32))[None]
        back = seen_from(view, seen_from(seen, logits, view), seen)[0] > 0
        if mask.sum() > 30:
            assert region_j(back.numpy(), mask) > 0.7


def test_first_masks_are_taken_in_a_close_up_and_other_prompts_are_not() -> None:
    mask = np.zeros(SIZE_HW, bool)
    mask[80:140, 160:240] = True
    near = view_of([Prompt.of(mask=mask)], SIZE_HW)
    assert near.holds(Prompt.of(box=[160, 80, 240, 140]))
    assert near.part_hw[1] < 200
    for other in (Prompt.of(box=[160, 80, 240, 140]), Prompt.of(points=[[180, 100]])):
        assert view_of([Prompt.of(mask=mask), other], SIZE_HW).is_whole


# --- Sessions ---------------------------------------------------------------------------------------------


@pytest.fixture
def tracker(tmp_path: Path) -> Any:
    """A small one, which calls nothing absent and has masks with an object and with something around it."""
    tracker = space_time_tracker(tmp_path, close_up=True)
    call_nothing_absent(tracker)
    return tracker


@pytest.fixture
def wandering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views that change with every frame, as masks of random weights would lead nowhere."""

    def chosen(masks: Any, seen: View, sizes: Any) -> tuple[View, Any]:
        count = sizes.get(0, (0.0, 0.0, 0.0))[0] + 1
        view = [WHOLE, PART, View(100, 40, 300, 160, SIZE_HW)][int(count) % 3]
        return view, {0: (count, 0.0, 0.0)}

    monkeypatch.setattr(close_up_session, "view_after", chosen)


def frames(count: int) -> list[vidseg.Frame]:
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), np.uint8)
    return [vidseg.Frame(t, t / 24, np.roll(noise, 6 * t, axis=1)) for t in range(count)]


def started(tracker: Any, video: list[vidseg.Frame]) -> Any:
    session = tracker.start()
    session.prompt(1, box=[180, 80, 260, 150], label="dog")
    session.step(video[0])
    return session


@pytest.mark.usefixtures("wandering")
def test_a_saved_session_goes_on_with_the_same_masks(tracker: Any, tmp_path: Path) -> None:
    video = frames(8)
    session = started(tracker, video)
    assert isinstance(session, CloseUpSession)
    for frame in video[1:]:
        session.save(tmp_path / "state")
        other = tracker.restore(tmp_path / "state")
        expected, got = session.step(frame), other.step(frame)
        np.testing.assert_array_equal(expected.video_res_logits, got.video_res_logits)
        assert 0 < expected.masks.mean() < 1
        assert got.labels == ["dog"]


@pytest.mark.usefixtures("wandering")
def test_saving_changes_nothing(tracker: Any, tmp_path: Path) -> None:
    """Neither the next frame nor a correction that comes after it."""
    video = frames(5)
    plain, saved = started(tracker, video), started(tracker, video)
    for frame in video[1:]:
        plain.step(frame)
        saved.step(frame)
        saved.save(tmp_path / "state")
        corrected = [s.refine(1, points=[[220, 120]], labels=[1]).video_res_logits for s in (plain, saved)]
        np.testing.assert_array_equal(*corrected)
        assert len(np.unique(corrected[0])) > 100


def test_a_correction_after_saving_may_change_what_is_looked_at(
    tracker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of the part that was chosen before it."""
    video, after = frames(3), []
    for saves, views in ((True, [PART, WHOLE]), (False, [WHOLE])):
        monkeypatch.setattr(close_up_session, "view_after", lambda *_, left=views: (left.pop(0), {}))
        session = started(tracker, video)
        if saves:
            session.save(tmp_path / "state")
        session.refine(1, points=[[200, 100]], labels=[1])
        after.append(session.step(video[1]).video_res_logits)
    np.testing.assert_array_equal(*after)


@pytest.mark.usefixtures("wandering")
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_restored_session_takes_prompts_ahead_as_one_that_went_on(
    tracker: Any, tmp_path: Path, steps: int
) -> None:
    """Whatever was seen of the last frame, whole or in part, and what was to be seen of the next one."""
    video = frames(8)
    session = started(tracker, video)
    for frame in video[1:steps]:
        session.step(frame)
    session.save(tmp_path / "state")
    tracker.restore(tmp_path / "state").save(tmp_path / "again")
    results = []
    for each in (session, tracker.restore(tmp_path / "state"), tracker.restore(tmp_path / "again")):
        each.prompt(2, box=[20, 20, 90, 90])
        each.condition(video[6])
        results.append(np.stack([each.step(frame).video_res_logits for frame in video[steps:]]))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.usefixtures("wandering")
def test_saving_before_an_object_is_removed_changes_nothing(tracker: Any, tmp_path: Path) -> None:
    video, after = frames(4), []
    for saves in (True, False):
        session = tracker.start()
        session.prompt(1, box=[180, 80, 260, 150])
        session.prompt(2, box=[20, 20, 90, 90])
        session.step(video[0])
        if saves:
            session.save(tmp_path / "state")
        session.remove(2)
        after.append(np.stack([session.step(frame).video_res_logits for frame in video[1:]]))
    np.testing.assert_array_equal(*after)


@pytest.mark.usefixtures("wandering")
def test_a_picture_may_be_another_one_by_the_next_frame(tracker: Any) -> None:
    """Cameras fill one buffer again and again."""
    video = frames(5)
    session, other = started(tracker, video), tracker.start()
    other.prompt(1, box=[180, 80, 260, 150])
    buffer = np.empty_like(video[0].image)
    for frame in video:
        buffer[:] = frame.image
        got = other.step(buffer)
        if frame.index:
            np.testing.assert_array_equal(session.step(frame).video_res_logits, got.video_res_logits)


def test_who_changes_a_result_changes_nothing_of_what_is_tracked(tracker: Any) -> None:
    sessions = [tracker.start(), tracker.start()]
    for session in sessions:
        session.prompt(1, box=[180, 80, 260, 150])
    for frame in frames(3):
        want, got = (session.step(frame) for session in sessions)
        assert np.array_equal(want.low_res_logits, got.low_res_logits)
        got.low_res_logits[:] = 1
        got.obj_ids.clear()


def test_what_is_refused_leaves_prompts_where_they_were(tracker: Any) -> None:
    video = frames(3)
    bad = vidseg.Frame(2, 0.1, model_input=np.zeros((3, 8, 8), np.float32), size_hw=SIZE_HW)
    session = started(tracker, video)
    session.prompt(2, box=[20, 20, 90, 90])
    for refused in (session.condition, session.step):
        with pytest.raises(InputError, match="a model input of shape"):
            refused(bad)
        assert session.obj_ids == [1, 2]
    session.remove(2)
    session.prompt(3, box=[20, 20, 90, 90])
    assert session.step(video[1]).obj_ids == [1, 3]


def test_nothing_is_left_of_the_size_of_a_removed_object(tracker: Any) -> None:
    session = started(tracker, frames(1))
    session.step(frames(2)[1])
    session.remove(1)
    assert not session._sizes
    assert not session._sizes_then


@pytest.mark.usefixtures("wandering")
def test_results_are_of_the_whole_picture(tracker: Any) -> None:
    video = frames(4)
    session = started(tracker, video)
    session.prompt(2, box=[140, 70, 240, 160])
    for frame in video[1:]:
        result = session.step(frame)
        side = tracker.engine.model.low_res_size
        assert result.masks.shape == (2, *SIZE_HW)
        assert result.low_res_logits.shape == (2, side, side)
        (alone,) = result.of_objects([2]).video_res_logits
        np.testing.assert_array_equal(alone, result.video_res_logits[1])
        coarse = torch.nn.functional.interpolate(
            torch.from_numpy(result.low_res_logits)[None], size=SIZE_HW, mode="bilinear"
        )[0]
        assert ((coarse > 0).numpy() == result.masks).mean() > 0.9


@pytest.mark.usefixtures("wandering")
def test_mask_logits_of_the_whole_picture_are_made_when_they_are_asked_for(
    tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks do without them, and most callers read masks alone."""
    session = started(tracker, frames(1))
    made: list[View] = []
    monkeypatch.setattr(close_up_result, "seen_from", lambda view, logits, _: (made.append(view), logits)[1])
    result = session.step(frames(2)[1])
    assert isinstance(result, CloseUpResult)
    assert result.masks.any()
    assert not made
    assert result.low_res_logits is result.low_res_logits
    assert made == [session._last.view]


@pytest.mark.usefixtures("wandering")
@pytest.mark.parametrize("prompt", [{"points": [[20, 20]], "labels": [1]}, {"box": [4, 6, 60, 60]}])
@pytest.mark.parametrize("obj_id", [1, 2])
def test_a_prompt_beyond_what_is_seen_is_answered_where_it_lies(
    tracker: Any, prompt: dict[str, Any], obj_id: int
) -> None:
    """The picture there decides: another one gives another answer."""
    video = frames(4)
    answers = []
    for is_other in (False, True):
        session = started(tracker, video)
        image = np.array(video[1].image)
        if is_other:
            image[:60, :100] = 255 - image[:60, :100]
        session.step(vidseg.Frame(1, 0.04, image))
        answers.append(session.refine(obj_id, **prompt))
        assert session.step(video[2]).obj_ids == sorted({1, obj_id})
    first, second = (result.video_res_logits[-1][:80, :120] for result in answers)
    assert not np.array_equal(first, second)


@pytest.mark.usefixtures("wandering")
def test_prompts_for_a_frame_may_lie_anywhere(tracker: Any) -> None:
    video = frames(6)
    session = started(tracker, video)
    for number, frame in enumerate(video[1:], start=2):
        session.prompt(number, box=[9 * number, 5 * number, 9 * number + 60, 5 * number + 50])
        session.prompt(1, points=[[8 * number, 6 * number]], labels=[0])
        assert session.step(frame).obj_ids == list(range(1, number + 1))
    session.remove(3)
    assert session.obj_ids == [1, 2, 4, 5, 6]


def test_a_frame_that_was_prompted_ahead_keeps_its_answer(tracker: Any) -> None:
    video = frames(6)
    session = tracker.start()
    mask = np.zeros(SIZE_HW, bool)
    mask[80:140, 180:260] = True
    session.prompt(1, mask=mask)
    session.step(video[0])
    session.prompt(1, mask=mask)
    ahead = session.condition(video[3]).masks
    for frame in video[1:4]:
        result = session.step(frame)
    np.testing.assert_array_equal(result.masks, ahead)


def test_a_view_that_moves_costs_no_encoding_and_another_size_does(
    tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, moved, encoded = frames(5), View(100, 40, 300, 160, SIZE_HW), []
    left = [PART, moved, PART, WHOLE]
    monkeypatch.setattr(close_up_session, "view_after", lambda *_: (left.pop(0), {}))
    session = started(tracker, video)
    session.step(video[1])  # what was prompted is remembered from the whole picture and from its part
    encode = tracker.engine.encode
    monkeypatch.setattr(
        tracker.engine, "encode", lambda frame: (encoded.append(frame.index), encode(frame))[1]
    )
    for frame in video[2:]:
        session.step(frame)
    assert encoded == [2, 3, 3, 4]


def test_frames_that_may_come_in_any_order_are_seen_whole(tracker: Any) -> None:
    assert not isinstance(tracker.start(keep_all=True), CloseUpSession)


@pytest.mark.usefixtures("wandering")
def test_a_result_is_freed_as_soon_as_nobody_holds_it(tracker: Any) -> None:
    """Its masks at the video's size are large, so it must not wait until Python looks for cycles."""
    video = frames(4)
    session = started(tracker, video)
    gc.disable()
    freed = []
    try:
        for frame in video[1:]:
            result = session.step(frame)
            assert result.masks.any()
            if isinstance(result, CloseUpResult):  # the session holds its last result of a whole picture
                freed.append(weakref.ref(result))
            del result
        assert [reference() for reference in freed] == [None, None]
    finally:
        gc.enable()


def test_memory_does_not_grow(tracker: Any, tmp_path: Path) -> None:
    session = started(tracker, frames(1))
    sizes = []
    for frame in frames(30)[1:]:
        session.step(frame)
        session.save(tmp_path / "state")
        sizes.append((tmp_path / "state").stat().st_size)
    assert max(sizes[15:]) <= max(sizes[:15]) + 2000  # numbers in JSON may be longer


def test_a_model_that_cannot_remember_anew_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="close-up"):
        vidseg.load(tracker_yaml(tmp_path, sam2=True, close_up=True), allow_random_weights=True)


def test_a_small_object_is_seen_larger() -> None:
    """The default follows a small star of the made video, and the parts that it looks at go with it."""
    star = 1
    session = vidseg.load("vidseg-nano", device="cpu").start()
    views, js = [], []
    for frame, truth in MadeVideo(num_frames=10):
        if frame.index == 0:
            session.prompt(star, mask=truth == star)
        js.append(region_j(session.step(frame).masks[0], truth == star))
        views.append(session._last.view)
    assert min(js) > 0.7
    assert not any(view.is_whole for view in views)
