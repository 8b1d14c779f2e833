"""What people do while tracking is under way, which goes on around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.annotated import NUM_FRAMES, write_video
from vidseg.annotation.session import AnnotationSession
from vidseg.testing.fake_tracker import FakeTracker

DRAWN = [(100, 50), (150, 50), (150, 80), (100, 80)]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[AnnotationSession]:
    """A session with object 1, which has a prompt on the first frame."""
    boxes = write_video(tmp_path / "made.mp4")
    with AnnotationSession(tmp_path / "made.mp4", tmp_path / "run", tracker=FakeTracker()) as session:
        session.box(0, None, boxes[0])
        yield session


def track_with(session: AnnotationSession, act: Callable[[], object], **ways: Any) -> None:
    """Track object 1, and do something as soon as the first masks come."""
    is_done = False

    def once(event: object) -> None:
        nonlocal is_done
        if isinstance(event, bytes) and not is_done:
            is_done = True
            act()

    stop = session.listeners.add(once)
    session.track([1], **ways)
    session.wait()
    stop()
    assert is_done


def test_what_is_said_ahead_of_tracking_is_kept(session: AnnotationSession) -> None:
    def act() -> None:
        session.lasso(10, 1, DRAWN)
        session.box(20, 1, (5, 5, 30, 30))

    track_with(session, act)
    drawn, boxed = session.project.mask(1, 10), session.project.mask(1, 20)
    assert drawn is not None
    assert boxed is not None
    assert (drawn.kind, boxed.kind) == ("D", "P")
    assert drawn.box == (100, 50, 51, 31)
    assert boxed.box == (5, 5, 25, 25)
    assert len(session.project.timeline(1, 0, NUM_FRAMES)) == NUM_FRAMES


def test_what_is_said_again_ahead_of_tracking_is_kept(session: AnnotationSession) -> None:
    session.box(20, 1, (5, 5, 30, 30))
    track_with(session, lambda: session.box(20, 1, (50, 50, 60, 60)))
    mask = session.project.mask(1, 20)
    assert mask is not None
    assert mask.box == (50, 50, 10, 10)


def test_frames_that_are_reviewed_ahead_of_tracking_are_kept(session: AnnotationSession) -> None:
    session.track([1])
    session.wait()
    before = session.project.mask(1, 20)
    session.box(0, 1, (90, 40, 110, 60))
    track_with(session, lambda: session.set_reviewed(15, 25))
    assert session.project.mask(1, 20) == before
    assert session.project.mask(1, 30) != before
