"""Answers to clicks cost no more than they must, and do not depend on what was made ready for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.annotated import SIZE_HW, Box, write_video
from vidseg.annotation import tracking
from vidseg.annotation.session import AnnotationSession
from vidseg.annotation.starts import object_prompts
from vidseg.testing.fake_tracker import FakeTracker
from vidseg.trackers.engine_tracker import EngineTracker

CORRECTED = 7
LAST = 9


@pytest.fixture(autouse=True)
def _sessions_are_saved_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Corrected frames lie far behind the first frame's saved session, and just behind another one."""
    monkeypatch.setattr(tracking, "SPACING_FRAMES", 4)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Box]]:
    path = tmp_path_factory.mktemp("video") / "made.mp4"
    return path, write_video(path)


def tracked(session: AnnotationSession, box: Box) -> int:
    obj_id = session.box(0, None, box)
    session.track([obj_id], last=LAST)
    session.wait()
    return obj_id


def test_a_frame_is_encoded_once_for_all_clicks_on_it(
    tmp_path: Path, video: tuple[Path, list[Box]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with AnnotationSession(video[0], tmp_path / "run", tracker="vidseg-nano") as session:
        one = tracked(session, video[1][0])
        assert isinstance(session.tracker, EngineTracker)
        engine = session.tracker.engine
        encoded: list[tuple[int, tuple[int, int]]] = []
        encode = engine.encode
        monkeypatch.setattr(
            engine, "encode", lambda frame: [encoded.append((frame.index, frame.size_hw)), encode(frame)][1]
        )
        session.answers.prepare(CORRECTED, one)
        for x in (30, 40, 50):
            session.click(CORRECTED, one, x, 40)
            session.preview(CORRECTED, None, x, 70)
        parts = [size for index, size in encoded if index == CORRECTED]
        # What is followed is seen in a close-up, and what is new on the whole picture.
        assert len(parts) == len(set(parts)) == 2


def test_what_was_made_ready_is_not_stepped_through_again(
    tmp_path: Path, video: tuple[Path, list[Box]]
) -> None:
    tracker = FakeTracker()
    with AnnotationSession(video[0], tmp_path / "run", tracker=tracker) as session:
        one = tracked(session, video[1][0])
        session.answers.prepare(CORRECTED, one)
        tracker.calls.clear()
        session.click(CORRECTED, one, 40, 40)
        session.click(CORRECTED, one, 50, 40)
        assert tracker.calls == [("step", CORRECTED)] * 2


def test_a_click_after_its_own_preview_asks_nothing_more(
    tmp_path: Path, video: tuple[Path, list[Box]]
) -> None:
    tracker = FakeTracker()
    with AnnotationSession(video[0], tmp_path / "run", tracker=tracker) as session:
        one = tracked(session, video[1][0])
        preview = session.preview(CORRECTED, one, 40, 40)
        tracker.calls.clear()
        session.click(CORRECTED, one, 40, 40)
        assert tracker.calls == []
        assert session.project.mask(one, CORRECTED) == preview


@pytest.mark.parametrize("tracker", ["fake", "vidseg-nano", "flow"])
def test_answers_are_the_same_with_and_without_preparing(
    tmp_path: Path, video: tuple[Path, list[Box]], tracker: str
) -> None:
    """Also after a prompt between the saved session and the frame has changed."""
    found = []
    for is_prepared in (False, True):
        with AnnotationSession(video[0], tmp_path / f"{is_prepared}", tracker=tracker) as session:
            one = tracked(session, video[1][0])
            for frame_idx in (CORRECTED, CORRECTED - 2, CORRECTED):
                if is_prepared:
                    session.answers.prepare(CORRECTED, one)
                session.box(frame_idx, one, (30 + frame_idx, 30, 80, 80))
                found.append(session.project.mask(one, frame_idx))
    assert found[:3] == found[3:]


def test_an_object_whose_prompts_were_all_taken_back_can_be_corrected(
    tmp_path: Path, video: tuple[Path, list[Box]]
) -> None:
    with AnnotationSession(video[0], tmp_path / "run", tracker="fake") as session:
        one = tracked(session, video[1][0])
        session.unprompt(0, one)
        session.box(CORRECTED, one, (30, 30, 80, 80))
        session.retrack(one, CORRECTED)
        job = session.wait()
        assert job is not None
        assert job.frame_idx is not None
        assert job.frame_idx > CORRECTED


def test_drawn_masks_are_held_one_at_a_time(tmp_path: Path, video: tuple[Path, list[Box]]) -> None:
    """A person draws hundreds of them in an hour, each a megabyte large."""
    with AnnotationSession(video[0], tmp_path / "run", tracker="fake") as session:
        one = tracked(session, video[1][0])
        drawn = range(1, CORRECTED)
        for frame_idx in drawn:
            session.brush(frame_idx, one, [(40, 40), (60, 40)], 5)
        prompts = object_prompts(one, session.project.said(one), SIZE_HW)
        assert list(prompts.on_frames) == [0, *drawn]
        assert prompts.on_frames[1] is not prompts.on_frames[1]
        mask = session.project.mask(one, 1)
        assert mask is not None
        assert np.array_equal(prompts.on_frames[1].mask, mask.pixels(SIZE_HW))
