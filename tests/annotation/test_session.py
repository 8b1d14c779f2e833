"""The interactive session, without a server: tracking, what a correction costs, what can be taken back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vidseg
from support.annotated import NUM_FRAMES, SIZE_HW, Box, contents, lines_of, write_video
from vidseg.annotation import jobs, tracking
from vidseg.annotation.database import MAX_ACTS
from vidseg.annotation.session import AnnotationSession
from vidseg.errors import InputError, OutputBusyError, OutputError, PromptError
from vidseg.testing.fake_tracker import FakeTracker

SPACING = 4
"""Frames between saved sessions in tests of trackers that take long: fewer than usual, for short videos."""
SHORT = 14
"""Frames of a video for such trackers: more than three of those spacings."""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Box]]:
    path = tmp_path_factory.mktemp("video") / "made.mp4"
    return path, write_video(path)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Box]]:
    path = tmp_path_factory.mktemp("short") / "made.mp4"
    return path, write_video(path, SHORT)


def begin(video: tuple[Path, list[Box]], out: Path, tracker: Any = "flow") -> AnnotationSession:
    return AnnotationSession(video[0], out, tracker=tracker)


def same_run(session: AnnotationSession, tracker: Any, out: Path, direction: Any = "forward") -> bool:
    """Whether `vidseg track --prompt` with the saved prompts gives the masks of the session."""
    session.write_files()
    prompts = session.folder / "prompts.json"
    vidseg.track(
        session.video.source, prompts, tracker=tracker, out=out, formats=["rle"], direction=direction
    )
    tracked = {frame: masks for frame, masks in lines_of(out).items() if masks}
    annotated = {frame: masks for frame, masks in lines_of(session.folder).items() if masks}
    return tracked == annotated


def test_nothing_is_prepared_for_a_while_after_an_answer(
    tmp_path: Path, video: tuple[Path, list[Box]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with begin(video, tmp_path / "run", FakeTracker()) as session:
        assert session.is_at_rest
        session.box(0, None, video[1][0])
        assert not session.is_at_rest
        monkeypatch.setattr(jobs, "SETTLED_S", 0.0)
        assert session.is_at_rest


@pytest.mark.parametrize("tracker", ["flow", "vidseg-nano", "fake"])
def test_saved_prompts_track_to_the_same_masks(
    tmp_path: Path, short: tuple[Path, list[Box]], tracker: str
) -> None:
    star, ball, _ = short[1]
    with begin(short, tmp_path / "run", tracker) as session:
        one = session.box(0, None, star)
        session.box(3, None, ball)
        session.click(6, one, star[0] + 5, star[1] + 5, on=True)
        session.track()
        job = session.wait()
        assert job is not None
        assert job.frames_stepped == SHORT
        assert same_run(session, tracker, tmp_path / "again")


@pytest.mark.parametrize("tracker", ["flow", "fake"])
def test_both_directions_are_those_of_track(
    tmp_path: Path, video: tuple[Path, list[Box]], tracker: str
) -> None:
    star, ball, _ = video[1]
    with begin(video, tmp_path / "run", tracker) as session:
        session.box(20, None, star)
        session.box(12, None, ball)
        session.track(direction="both")
        session.wait()
        assert same_run(session, tracker, tmp_path / "again", "both")


def test_a_correction_costs_the_frames_that_it_changes(
    tmp_path: Path, short: tuple[Path, list[Box]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "SPACING_FRAMES", SPACING)
    monkeypatch.setattr(tracking, "AGREEING_FRAMES", 3)
    star, ball, _ = short[1]
    with begin(short, tmp_path / "run", "vidseg-nano") as session:
        one, two = session.box(0, None, star), session.box(0, None, ball)
        session.track()
        session.wait()
        before = {(m.frame_idx, m.obj_id): m for f in range(SHORT) for m in session.masks(f)}
        x, y, w, h = before[5, one].box
        session.click(5, one, x + w / 2, y + h / 2, on=True)  # says what was known, so it dies away at once
        answered = session.project.mask(one, 5)
        session.retrack(one, 5)
        job = session.wait()
        assert job is not None
        assert job.frames_stepped <= SPACING + 3  # all there are behind the saved session of frame 4: 9
        after = {(m.frame_idx, m.obj_id): m for f in range(SHORT) for m in session.masks(f)}
        changed = {key for key in before if before[key] != after[key]}
        assert {obj_id for _, obj_id in changed} <= {one}
        assert min(frame for frame, _ in changed) == 5
        assert after[5, one] == answered  # tracking gives what the click was answered with
        assert all(after[f, two] == before[f, two] for f in range(SHORT))


@pytest.mark.parametrize("tracker", ["flow", "fake", "vidseg-nano"])
def test_a_correction_goes_on_as_track_would(
    tmp_path: Path, short: tuple[Path, list[Box]], monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    """Tracking on from the saved session is tracking by the saved prompts, if it does not stop early."""
    monkeypatch.setattr(tracking, "SPACING_FRAMES", SPACING)
    monkeypatch.setattr(tracking, "AGREEING_FRAMES", 1000)
    star = short[1][0]
    with begin(short, tmp_path / "run", tracker) as session:
        one = session.box(0, None, star)
        session.track()
        session.wait()
        session.click(5, one, 5, 5, on=False)
        session.click(5, one, star[0] - 8, star[1] - 8, on=True)
        session.retrack(one, 5)
        session.wait()
        session.box(10, one, (90, 40, 150, 80))
        session.retrack(one, 10)
        job = session.wait()
        assert job is not None
        assert job.frames_stepped < SHORT - 5
        session.set_absent(one, 11, 12)
        assert same_run(session, tracker, tmp_path / "again")


def test_a_backward_correction_goes_on_as_track_would(
    tmp_path: Path, video: tuple[Path, list[Box]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "AGREEING_FRAMES", 1000)
    with begin(video, tmp_path / "run", "fake") as session:
        one = session.box(30, None, video[1][0])
        session.track(direction="both")
        session.wait()
        session.box(12, one, (90, 40, 150, 80))
        session.retrack(one, 12)
        session.wait()
        assert same_run(session, "fake", tmp_path / "again", "both")


def test_a_correction_stops_at_a_reviewed_frame(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run", FakeTracker()) as session:
        one = session.box(0, None, video[1][0])
        session.track()
        session.wait()
        session.set_reviewed(30, 35)
        before = contents(session)["masks"]
        session.box(20, one, (90, 40, 150, 80))
        session.retrack(one, 20)
        job = session.wait()
        assert job is not None
        assert job.frame_idx == 29
        after = contents(session)["masks"]
        assert [row[0] for row in set(before) - set(after)] != []
        assert {row[0] for row in set(before) - set(after)} <= set(range(20, 30))


def test_backward_corrections_go_backward(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run", FakeTracker()) as session:
        one = session.box(30, None, video[1][0])
        session.track(direction="backward")
        session.wait()
        before = {f: session.project.mask(one, f) for f in range(NUM_FRAMES)}
        assert [f for f in before if before[f]] == list(range(31))
        session.box(15, one, (90, 40, 150, 80))
        session.retrack(one, 15)
        job = session.wait()
        assert job is not None
        assert job.frame_idx == 0
        assert all(session.project.mask(one, f) == before[f] for f in range(16, 31))
        assert all(session.project.mask(one, f) != before[f] for f in range(16))


def test_a_range_goes_on_from_its_border(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    """What is tracked in two parts is what is tracked in one."""
    with begin(video, tmp_path / "whole", FakeTracker()) as session:
        session.box(0, None, video[1][0])
        session.track()
        session.wait()
        whole = contents(session)["masks"]
    with begin(video, tmp_path / "parts", FakeTracker()) as session:
        session.box(0, None, video[1][0])
        session.track(last=20)
        session.wait()
        assert len(contents(session)["masks"]) == 21
        session.track(first=21)
        session.wait()
        assert contents(session)["masks"] == whole


def test_cancelling_keeps_what_was_tracked(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run", FakeTracker(seconds_a_frame=0.02)) as session:
        session.box(0, None, video[1][0])
        session.track()
        with pytest.raises(InputError, match="tracking is under way"):
            session.track()
        while not session.project.mask(1, 5):
            time.sleep(0.005)
        session.box(2, None, video[1][1])  # the session stays usable
        session.cancel()
        job = session.wait()
        assert job is not None
        tracked = len(session.project.timeline(1, 0, NUM_FRAMES))
        assert 5 < tracked < NUM_FRAMES
        assert job.frames_stepped == tracked


def test_drawn_frames_are_kept_and_serve_as_prompts(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run") as session:
        one = session.lasso(0, None, [(20, 20), (60, 20), (60, 60), (20, 60)])
        session.brush(0, one, [(60, 40), (80, 40)], 5)
        session.brush(0, one, [(22, 22)], 3, "erase")
        session.lasso(10, one, [(30, 30), (70, 30), (70, 70), (30, 70)])
        drawn = {f: session.project.mask(one, f) for f in (0, 10)}
        pixels = drawn[0].pixels(SIZE_HW)
        assert [bool(pixels[at]) for at in ((40, 40), (40, 82), (22, 22), (40, 90))] == [
            True,
            True,
            False,
            False,
        ]
        session.track()
        session.wait()
        assert {f: session.project.mask(one, f) for f in (0, 10)} == drawn
        session.write_files()
        said = vidseg.read_run(session.folder)
        assert np.array_equal(said.masklet(one)[0], pixels)
        mask_file = session.folder / "prompts" / "1-00000.png"
        assert mask_file.is_file()
        session.unprompt(0, one)
        assert not mask_file.exists()


def test_everything_can_be_undone_and_redone(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run") as session:
        star, ball, _ = video[1]
        states = [contents(session)]

        def did() -> None:
            session.wait()
            states.append(contents(session))

        one = session.box(0, None, star)
        did()
        two = session.add_object(label="ball", colour="#00ff00")
        did()
        session.box(0, two, ball)
        did()
        for act in (
            lambda: session.track([one, two]),
            lambda: session.set_object(one, label="star", locked=True),
            lambda: session.set_absent(two, 10, 20),
            lambda: session.set_absent(two, 14, 15, on=False),
            lambda: session.set_reviewed(0, 5),
            lambda: session.flag(7, "a hand covers it"),
            lambda: session.brush(12, two, [(30, 30), (50, 50)], 4),
            lambda: session.retrack(two, 12),
            lambda: session.unprompt(12, two),
            lambda: session.merge_objects(one, two),
            lambda: session.remove_object(two),
        ):
            act()
            did()
        for earlier in reversed(states[:-1]):
            assert session.undo() is not None
            assert contents(session) == earlier
        assert session.undo() is None
        for later in states[1:]:
            assert session.redo() is not None
            assert contents(session) == later
        assert session.redo() is None


def test_an_earlier_version_comes_back(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run") as session:
        one, two = session.box(0, None, video[1][0]), session.box(0, None, video[1][1])
        session.track()
        session.wait()
        masks = contents(session)["masks"]
        session.lasso(15, one, [(100, 10), (150, 10), (150, 60), (100, 60)])
        session.retrack(one, 15)
        session.wait()
        session.set_object(two, label="ball")
        assert contents(session)["masks"] != masks
        correction = session.versions()[0]
        assert correction.title == "Correct object 1 from frame 15"
        session.restore(correction.act_id, one)
        lassoed = session.project.mask(one, 15)
        assert lassoed is not None
        assert lassoed.kind == "D"  # drawn before that version
        assert [row for row in contents(session)["masks"] if row[0] != 15] == [r for r in masks if r[0] != 15]
        assert session.project.object(two).label == "ball"
        session.undo()
        with pytest.raises(InputError, match="no version 999"):
            session.restore(999, one)


def test_acts_beyond_the_limit_are_forgotten(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run", FakeTracker()) as session:
        for number in range(MAX_ACTS + 20):
            session.flag(0, str(number))
        database = session.project.database
        assert len(database.acts()) == MAX_ACTS
        assert database.row("SELECT count(*) FROM before_flags") == (MAX_ACTS,)


KILLED = """
import sys, time
from vidseg.annotation.session import AnnotationSession
from vidseg.testing.fake_tracker import FakeTracker
session = AnnotationSession(sys.argv[1], sys.argv[2], tracker=FakeTracker(seconds_a_frame=0.01))
session.box(0, None, (20, 20, 60, 60))
session.flag(3, "note")
session.track()
print("tracking", flush=True)
session.wait()
time.sleep(100)
"""


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.25])
def test_a_killed_process_loses_nothing(
    tmp_path: Path, video: tuple[Path, list[Box]], seconds: float
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, str(video[0]), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "tracking\n"
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
    with begin(video, out, FakeTracker()) as session:
        assert session.project.flags() == {3: "note"}
        assert [act.title for act in session.project.database.acts()][1:] == [
            "Flag a frame",
            "Box of a new object",
        ]
        frames = [frame for frame, *_ in session.project.timeline(1, 0, NUM_FRAMES)]
        assert frames == list(range(max(1, len(frames))))  # whole frames, without a gap
        assert set(lines_of(out)) == set(frames)
        session.track()
        session.wait()
        assert same_run(session, FakeTracker(), tmp_path / "again")


def test_a_run_of_track_is_opened_and_corrected(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    out = tmp_path / "run"
    prompts = {"objects": [{"id": 4, "label": "star", "prompts": [{"frame": 0, "box": list(video[1][0])}]}]}
    vidseg.track(video[0], prompts, tracker="flow", out=out, formats=["rle"])
    tracked = lines_of(out)
    with AnnotationSession(out, tracker="flow") as session:
        assert session.project.object(4).label == "star"
        assert lines_of(out) == tracked
        mask = session.project.mask(4, 20)
        assert mask is not None
        session.box(20, 4, (mask.box[0], mask.box[1], mask.box[0] + mask.box[2], mask.box[1] + mask.box[3]))
        session.retrack(4, 20)  # from the mask before, as track saved no session
        job = session.wait()
        assert job is not None
        assert 1 < job.frames_stepped <= NUM_FRAMES - 19
    changed = {f for f, masks in lines_of(out).items() if masks != tracked[f]}
    assert min(changed) == 20


def test_objects_are_merged(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run") as session:
        one, two = session.box(0, None, video[1][0]), session.box(4, None, video[1][1])
        session.track()
        session.wait()
        masks = {o: {f: session.project.mask(o, f) for f in range(NUM_FRAMES)} for o in (one, two)}
        session.merge_objects(two, one)
        assert [thing.obj_id for thing in session.project.objects()] == [one]
        for frame in (0, 4, 30):
            expected = np.zeros(SIZE_HW, np.bool_)
            for each in (one, two):
                if masks[each][frame] is not None:
                    expected |= masks[each][frame].pixels(SIZE_HW)
            merged = session.project.mask(one, frame)
            assert merged is not None
            assert np.array_equal(merged.pixels(SIZE_HW), expected)
        assert session.box(0, None, video[1][2]) == 3  # ids are never used twice


def test_absent_spans_have_no_masks_in_the_run(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run") as session:
        one = session.box(0, None, video[1][0])
        session.track()
        session.wait()
        session.set_absent(one, 10, 12)
        session.write_files()
        assert [f for f, masks in lines_of(session.folder).items() if not masks] == [10, 11, 12]
        session.set_absent(one, 11, 11, on=False)
        session.write_files()
        assert [f for f, masks in lines_of(session.folder).items() if not masks] == [10, 12]


def test_a_project_is_open_once(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with (
        begin(video, tmp_path / "run"),
        pytest.raises(OutputBusyError, match="annotated in another window"),
    ):
        begin(video, tmp_path / "run")
    other = tmp_path / "other.mp4"
    write_video(other, 20)
    with pytest.raises(OutputError, match="a run of another video"):
        AnnotationSession(other, tmp_path / "run", tracker="flow")


def test_what_does_not_fit_changes_nothing(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    with begin(video, tmp_path / "run") as session:
        one = session.box(0, None, video[1][0])
        session.set_object(one, locked=True)
        before = contents(session)
        for call, message in (
            (lambda: session.click(0, one, 5, 5), "is locked"),
            (lambda: session.click(NUM_FRAMES, None, 5, 5), f"no frame {NUM_FRAMES}"),
            (lambda: session.click(0, None, 500, 5), "outside the frame"),
            (lambda: session.box(0, None, (9, 9, 9, 9)), "has no area"),
            (lambda: session.lasso(0, None, [(1, 1), (2, 2)]), "a lasso of 2 points"),
            (lambda: session.click(0, 9, 5, 5), "no object 9"),
            (lambda: session.retrack(one, 30), "not tracked to frame 30"),
        ):
            with pytest.raises(PromptError, match=message):
                call()
        with pytest.raises(InputError, match="no object to track"):
            session.track()
        assert contents(session) == before
