"""The tracking loop and the schedule of prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from vidseg.errors import RunError
from vidseg.pipeline.loop import Loop, with_all_objects
from vidseg.pipeline.outlet import Outlet
from vidseg.pipeline.progress import Silent
from vidseg.pipeline.prompt_schedule import PromptSchedule
from vidseg.pipeline.prompts import ObjectPrompts, Prompts, read_prompts
from vidseg.pipeline.run_record import RunRecord
from vidseg.pipeline.stop import Stop
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.testing import FakeTracker
from vidseg.trackers.contract import Frame

SIZE_HW = (48, 64)


def frame(index: int) -> Frame:
    image = np.random.default_rng(index).integers(0, 256, (*SIZE_HW, 3), np.uint8)
    return Frame(index, index / 24, image)


def frames(*indices: int) -> Iterator[Frame]:
    return iter([frame(index) for index in indices])


def prompts(**on_frames: list[int]) -> Prompts:
    """Objects by name 'o1', 'o2', with a box on each of their frames."""
    return read_prompts(
        {
            "objects": [
                {"id": int(name[1:]), "prompts": [{"frame": f, "box": [10 + f, 10, 20 + f, 20]} for f in at]}
                for name, at in on_frames.items()
            ]
        }
    )


def run(
    tracker: FakeTracker, objects: list[ObjectPrompts], given: Iterator[Frame], **more: Any
) -> dict[int, FrameMasks]:
    seen: dict[int, FrameMasks] = {}
    schedule = {key: more.pop(key) for key in ("start_on", "reverse") if key in more}
    loop = Loop(
        schedule=PromptSchedule(objects=objects, read_frame=more.pop("read_frame", frame), **schedule),
        obj_ids=[thing.obj_id for thing in objects],
        deliver=more.pop("deliver", lambda frame, masks: seen.__setitem__(frame.index, masks)),
        save_session=more.pop("save_session", lambda session, frame_idx: None),
        save_every=more.pop("save_every", 0),
        record=RunRecord(Path("run.json"), {}),
        progress=Silent(),
        stop=more.pop("stop", Stop()),
    )
    loop.run(given, tracker.start(reverse=schedule.get("reverse", False)), **more)
    return seen


def alike(one: FrameMasks, other: FrameMasks, *, row: int = 0, other_row: int = 0) -> bool:
    return np.array_equal(one.masks[row], other.masks[other_row])


def test_a_stop_that_comes_while_a_frame_is_written_saves_the_session_first() -> None:
    """Else a run that goes on would write the frames since the last resume point twice."""
    stop, saved, written = Stop(), [], []

    def deliver(frame: Frame, masks: FrameMasks) -> None:
        written.append(frame.index)
        stop.is_requested = frame.index == 2

    keeps = {"save_session": lambda session, frame_idx: saved.append(frame_idx), "save_every": 100}
    with pytest.raises(KeyboardInterrupt):
        run(FakeTracker(), prompts(o1=[0]).objects, frames(*range(6)), deliver=deliver, stop=stop, **keeps)
    assert written == [0, 1, 2]
    assert saved == [2]


class TestSchedule:
    def test_object_starts_on_its_first_prompted_frame(self) -> None:
        seen = run(FakeTracker(), prompts(o1=[2]).objects, frames(*range(5)))
        assert [bool(masks.masks.any()) for masks in seen.values()] == [False, False, True, True, True]
        assert all(masks.obj_ids == [1] for masks in seen.values())
        assert seen[0].states == ["absent"]

    def test_frames_before_any_object_are_spared_the_tracker(self) -> None:
        tracker = FakeTracker()
        run(tracker, prompts(o1=[2]).objects, frames(*range(4)))
        assert tracker.calls == [("step", 2), ("step", 3)]

    def test_later_prompts_of_an_object_are_conditioned_on_when_it_starts(self) -> None:
        tracker = FakeTracker()
        run(tracker, prompts(o1=[1, 4, 3], o2=[2]).objects, frames(*range(5)))
        assert tracker.calls == [
            ("condition", 3),
            ("condition", 4),
            ("step", 1),
            ("step", 2),
            ("step", 3),
            ("step", 4),
        ]

    @pytest.mark.parametrize("clicks_correct", [False, True])
    def test_clicks_on_later_frames_correct_where_the_tracker_says_so(self, clicks_correct: bool) -> None:
        class Session:
            calls: ClassVar[list[Any]] = []

            def prompt(self, obj_id: int, *, box: Any = None, points: Any = None, labels: Any = None) -> None:
                self.calls.append("box" if box else "clicks")

            def condition(self, frame: Frame) -> None:
                self.calls.append(("condition", frame.index))

        on_frames = [
            {"frame": 1, "points": [[10, 10]], "labels": [1]},
            {"frame": 3, "points": [[10, 10]], "labels": [0]},
            {"frame": 4, "box": [10, 10, 20, 20]},
        ]
        objects = read_prompts({"objects": [{"id": 1, "prompts": on_frames}]}).objects
        schedule = PromptSchedule(objects=objects, read_frame=frame, clicks_correct=clicks_correct)
        session, calls = Session(), {}
        for index in range(6):
            session.calls.clear()
            schedule.prompt(session, index - 1, index)  # type: ignore[arg-type]
            calls[index] = list(session.calls)
        at_start = ["box", ("condition", 4), "clicks"]
        if not clicks_correct:
            at_start = ["clicks", ("condition", 3), *at_start]
        assert calls == {0: [], 1: at_start, 2: [], 3: ["clicks"] if clicks_correct else [], 4: [], 5: []}

    def test_objects_that_start_together_share_the_frames_ahead(self) -> None:
        tracker = FakeTracker()
        run(tracker, prompts(o1=[0, 3], o2=[0, 3]).objects, frames(*range(4)))
        assert tracker.calls.count(("condition", 3)) == 1

    def test_objects_do_not_disturb_each_other(self) -> None:
        together = run(FakeTracker(), prompts(o1=[0, 3], o2=[2]).objects, frames(*range(6)))
        alone = run(FakeTracker(), prompts(o2=[2]).objects, frames(*range(6)))
        assert all(alike(together[i], alone[i], row=1) for i in range(6))

    def test_backward_starts_on_the_last_prompted_frame(self) -> None:
        tracker = FakeTracker()
        seen = run(tracker, prompts(o1=[1, 3]).objects, frames(4, 3, 2, 1, 0), start_on="last", reverse=True)
        assert tracker.calls == [("condition", 1), ("step", 3), ("step", 2), ("step", 1), ("step", 0)]
        assert not seen[4].masks.any()
        assert seen[0].masks.any()

    def test_stream_is_prompted_when_the_frame_comes(self) -> None:
        tracker = FakeTracker()
        seen = run(tracker, prompts(o1=[0, 3]).objects, frames(*range(5)), read_frame=None)
        assert ("condition", 3) not in tracker.calls
        ys, xs = np.nonzero(seen[3].masks[0])
        assert (xs.min(), ys.min()) == (13, 10)

    def test_prompt_on_a_dropped_frame_is_given_on_the_next_one(self) -> None:
        seen = run(FakeTracker(), prompts(o1=[0], o2=[3]).objects, frames(2, 5, 6), read_frame=None)
        assert seen[2].masks[0].any()
        ys, xs = np.nonzero(seen[5].masks[1])
        assert (xs.min(), ys.min()) == (13, 10)

    def test_a_correction_that_was_dropped_with_the_first_prompt_does_not_take_its_place(self) -> None:
        on_frames = [{"frame": 1, "box": [11, 10, 21, 20]}, {"frame": 3, "points": [[50, 30]], "labels": [0]}]
        objects = read_prompts({"objects": [{"id": 1, "prompts": on_frames}]}).objects
        seen = run(FakeTracker(), objects, frames(0, 5, 6), read_frame=None)
        ys, xs = np.nonzero(seen[5].masks[0])
        assert (xs.min(), ys.min()) == (11, 10)

    def test_prompt_on_a_lost_frame_is_given_on_the_next_one_in_reverse_too(self) -> None:
        seen = run(FakeTracker(), prompts(o1=[3]).objects, frames(6, 5, 2, 1), start_on="last", reverse=True)
        assert not seen[5].masks.any()
        ys, xs = np.nonzero(seen[2].masks[0])
        assert (xs.min(), ys.min()) == (13, 10)


class TestLoop:
    def test_resume_points_come_every_so_many_frames(self) -> None:
        saved: list[tuple[bool, int]] = []
        run(
            FakeTracker(),
            prompts(o1=[3]).objects,
            frames(*range(7)),
            save_every=2,
            save_session=lambda session, frame_idx: saved.append((session is not None, frame_idx)),
        )
        assert saved == [(False, 1), (True, 3), (True, 5)]

    def test_stop_is_heeded_after_the_frame_with_a_resume_point(self) -> None:
        stop, saved = Stop(), []

        def stopping() -> Iterator[Frame]:
            for given in frames(*range(9)):
                stop.is_requested = given.index == 4
                yield given

        with pytest.raises(KeyboardInterrupt):
            run(
                FakeTracker(),
                prompts(o1=[0]).objects,
                stopping(),
                save_every=100,
                stop=stop,
                save_session=lambda session, frame_idx: saved.append(frame_idx),
            )
        assert saved == [4]

    def test_interrupt_while_waiting_for_a_frame_leaves_a_resume_point(self) -> None:
        saved: list[int] = []

        def silent_stream() -> Iterator[Frame]:
            yield from frames(0, 1, 2)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(
                FakeTracker(),
                prompts(o1=[0]).objects,
                silent_stream(),
                save_every=100,
                save_session=lambda session, frame_idx: saved.append(frame_idx),
            )
        assert saved == [2]


class Apart:
    """A session whose results a device still computes when they are returned."""

    def __init__(self, session: Any, events: list[tuple[str, int]]) -> None:
        self._session = session
        self._events = events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def step(self, frame: Frame) -> Any:
        result = self._session.step(frame)
        result.is_coming = True
        self._events.append(("begun", frame.index))
        return result


class TestResultsThatComeLater:
    def run(self, tracker: FakeTracker, **more: Any) -> list[tuple[str, int]]:
        events: list[tuple[str, int]] = []
        loop = Loop(
            schedule=PromptSchedule(objects=prompts(o1=[0]).objects, read_frame=frame),
            obj_ids=[1],
            deliver=lambda frame, masks: events.append(("delivered", frame.index)),
            save_session=lambda session, frame_idx: events.append(("saved", frame_idx)),
            save_every=more.pop("save_every", 0),
            record=RunRecord(Path("run.json"), {}),
            progress=Silent(),
            stop=more.pop("stop", Stop()),
            **more,
        )
        try:
            loop.run(frames(0, 1, 2), Apart(tracker.start(), events))  # type: ignore[arg-type]
        except (ZeroDivisionError, KeyboardInterrupt) as error:
            events.append((type(error).__name__, -1))
        return events

    def test_a_frame_is_delivered_once_the_next_one_is_begun(self) -> None:
        assert self.run(FakeTracker(), may_lag=True) == [
            ("begun", 0),
            ("begun", 1),
            ("delivered", 0),
            ("begun", 2),
            ("delivered", 1),
            ("delivered", 2),
        ]

    def test_frames_of_a_live_source_are_delivered_at_once(self) -> None:
        happened = [(what, index) for index in range(3) for what in ("begun", "delivered")]
        assert self.run(FakeTracker()) == happened

    def test_all_is_delivered_before_a_resume_point(self) -> None:
        happened = self.run(FakeTracker(), may_lag=True, save_every=2)
        assert happened.index(("delivered", 1)) < happened.index(("saved", 1)) < happened.index(("begun", 2))

    def test_an_error_loses_no_frame_before_it(self) -> None:
        happened = self.run(FakeTracker(fails_on=2), may_lag=True)
        assert happened[-2:] == [("delivered", 1), ("ZeroDivisionError", -1)]

    def test_a_stop_loses_no_frame(self) -> None:
        stop = Stop()
        stop.is_requested = True
        assert self.run(FakeTracker(), may_lag=True, stop=stop) == [
            ("begun", 0),
            ("delivered", 0),
            ("KeyboardInterrupt", -1),
        ]


def test_rows_follow_the_order_of_the_prompt_file() -> None:
    masks = np.zeros((2, *SIZE_HW), np.bool_)
    masks[0, 0, 0] = masks[1, 1, 1] = True
    given = FrameMasks(0, 0.0, SIZE_HW, [9, 4], masks, [0.9, 0.4], ["visible", "uncertain"])
    ordered = with_all_objects(given, [4, 5, 9])
    assert ordered.obj_ids == [4, 5, 9]
    assert ordered.masks[0, 1, 1]
    assert not ordered.masks[1].any()
    assert ordered.masks[2, 0, 0]
    assert ordered.scores == [0.4, 0.0, 0.9]
    assert ordered.states == ["uncertain", "absent", "visible"]


class Recorder:
    """A writer that notes what it is asked for."""

    name = "recorder"

    def __init__(self, fails_on: int | None = None, error: Exception | None = None) -> None:
        self.written: list[int] = []
        self.ends: list[str] = []
        self.fails_on = fails_on
        self.error = error or OSError(28, "No space left on device", "masks/00003.png")

    def resume(self, is_done: Any) -> int:
        return 0

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        if frame.index == self.fails_on:
            raise self.error
        self.written.append(frame.index)

    def sync(self) -> None:
        self.ends.append("sync")

    def finish(self) -> list[Path]:
        self.ends.append("finish")
        return [Path("recorder")]

    def discard(self) -> None:
        self.ends.append("discard")


def masks_of(index: int) -> FrameMasks:
    return FrameMasks(index, 0.0, SIZE_HW, [], np.zeros((0, *SIZE_HW), np.bool_), [])


def put_all(outlet: Outlet, num_frames: int) -> None:
    for index in range(num_frames):
        outlet.put(Frame(index, 0.0, frame(0).image), masks_of(index))
    outlet.sync()


class TestOutlet:
    def test_every_writer_gets_every_frame_in_order(self) -> None:
        writers = [Recorder(), Recorder()]
        outlet = Outlet(writers, queue_frames=2)
        put_all(outlet, 20)
        assert all(writer.written == list(range(20)) for writer in writers)
        assert outlet.finish(keep_broken=False) == [Path("recorder")] * 2

    def test_full_disk_stops_the_run_and_is_told_as_such(self) -> None:
        sound, broken = Recorder(), Recorder(fails_on=3)
        outlet = Outlet([broken, sound], queue_frames=1)
        with pytest.raises(RunError, match="the disk is full: recorder") as caught:
            put_all(outlet, 20)
        assert "masks/00003.png" in str(caught.value)
        assert "--resume" in str(caught.value)
        assert outlet.finish(keep_broken=False) == [Path("recorder")]
        assert sound.ends == ["finish"]
        assert broken.ends == ["discard"]

    def test_error_on_the_last_frame_is_not_lost(self) -> None:
        outlet = Outlet([Recorder(fails_on=0, error=ValueError("odd"))], queue_frames=4)
        with pytest.raises(RunError, match="writing recorder failed"):
            put_all(outlet, 1)
        assert outlet.finish(keep_broken=True) == []
