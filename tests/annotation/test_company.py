"""Whose company an object goes on in from a saved session, where objects compete for pixels."""

from __future__ import annotations

from pathlib import Path

from support.annotated import write_video
from vidseg.annotation.session import AnnotationSession
from vidseg.testing.fake_tracker import FakeTracker
from vidseg.trackers.contract import TrackerTraits


def test_an_object_goes_on_beside_those_of_which_nothing_was_said_since(tmp_path: Path) -> None:
    """A rival that was wrong from there on would take what is another object's."""
    boxes = write_video(tmp_path / "made.mp4")
    with AnnotationSession(tmp_path / "made.mp4", tmp_path / "run", tracker="fake") as session:
        one, two, three = (session.box(0, None, box) for box in boxes)
        session.track()
        session.wait()
        found = []

        def look(frame_idx: int) -> None:
            start = session.answers._starts.before(one, frame_idx, reverse=False)
            assert start is not None
            assert start.session_file is not None
            found.append(start.company)

        look(20)
        session.box(18, two, boxes[1])
        look(20)  # the session before it was saved before the box
        session.retrack(two, 18)
        session.wait()
        look(30)  # the one before it knows nothing of the box
        assert found == [(two, three), (three,), (three,)]


def test_an_object_that_was_corrected_keeps_its_company(tmp_path: Path) -> None:
    """A session that was saved for the corrected object alone has its rivals, too."""
    boxes = write_video(tmp_path / "made.mp4")
    tracker = FakeTracker()
    tracker.traits = TrackerTraits(objects_compete=True)
    with AnnotationSession(tmp_path / "made.mp4", tmp_path / "run", tracker=tracker) as session:
        one, two, three = (session.box(0, None, box) for box in boxes)
        session.track()
        session.wait()
        session.box(10, one, (90, 40, 150, 80))
        session.retrack(one, 10)
        session.wait()

        def company() -> set[int]:
            start = session.answers._starts.before(one, 30, reverse=False)
            assert start is not None
            assert start.session_file is not None
            in_session = session.tracker.restore(start.session_file).obj_ids
            return {other for other in start.company if other in in_session}

        assert company() == {two, three}
        session.box(12, two, boxes[0])
        session.retrack(two, 12)
        session.wait()
        assert company() == {three}  # of the other one that session knows what it was before
        session.undo()
        assert company() == {two, three}
