"""Runs passes frame by frame: steps, keeps masks, saves sessions, stops where a correction has died away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vidseg.annotation.answers import begin_from
from vidseg.annotation.masks import KIND_OF_STATE, Mask
from vidseg.annotation.passes import Pass
from vidseg.annotation.project import Project, Said
from vidseg.annotation.saved_sessions import SPACING_FRAMES, SavedSessions
from vidseg.annotation.spans import is_in
from vidseg.masks import iou
from vidseg.pipeline.read import read
from vidseg.pipeline.read.random_access import RandomAccess
from vidseg.pipeline.review import Review
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.trackers.contract import Frame, Session, Tracker

AGREEING_IOU = 0.98
AGREEING_FRAMES = 10
"""A correction has died away after so many frames running whose masks agree with the earlier ones so well."""


@dataclass
class TrackingJob:
    """Passes that are being run, and how far they have come."""

    passes: Sequence[Pass]
    act_id: int
    title: str
    is_cancelled: threading.Event = field(default_factory=threading.Event)
    frames_stepped: int = 0
    """Frames that the tracker saw; each costs the same, whether its masks are kept or not."""
    frames_passed: int = 0
    """Frames that are behind us, with those that a pass that stopped early did not need."""
    frame_idx: int | None = None

    @property
    def total(self) -> int:
        return sum(each.num_frames for each in self.passes)

    @property
    def obj_ids(self) -> list[int]:
        return sorted({obj_id for each in self.passes for obj_id in each.obj_ids})


class Tracking:
    """Runs the passes of a project.

    Args:
        video: for this class alone.
        before_step: called before every step of the tracker; it may wait, for answers to be made.
        on_frame: called with each frame whose masks have changed.
    """

    def __init__(
        self,
        tracker: Tracker,
        video: RandomAccess,
        project: Project,
        saved: SavedSessions,
        *,
        before_step: Callable[[], None] = lambda: None,
        on_frame: Callable[[TrackingJob, int], None] = lambda job, frame_idx: None,
    ) -> None:
        self.tracker = tracker
        self.video = video
        self.project = project
        self.saved = saved
        self.before_step = before_step
        self.on_frame = on_frame

    def run(self, job: TrackingJob) -> None:
        """Run all passes, or those until `job.is_cancelled`; what was tracked stays."""
        done = 0
        for each in job.passes:
            _PassRun(self, job, each).run()
            done += each.num_frames
            job.frames_passed = done
            if job.is_cancelled.is_set():
                break
        self.saved.clean()


class _PassRun:
    """One pass being run."""

    def __init__(self, tracking: Tracking, job: TrackingJob, this: Pass) -> None:
        self._t = tracking
        self._job = job
        self._pass = this
        self._agreeing = 0
        self._review = Review()
        self._seen: list[int] = []
        self._unsaved_from = this.begin

    def run(self) -> None:
        session, previous = self._begin()
        # That of the first frame is saved at once: on the second one, nothing else tells how it began.
        unsaved = SPACING_FRAMES - 1 if previous is None else 0
        for frame in self._frames():
            if self._job.is_cancelled.is_set() or self._is_over(frame.index):
                break
            self._t.before_step()
            self._pass.schedule.prompt(session, previous, frame.index)
            result = session.step(frame)
            previous = frame.index
            self._job.frames_stepped += 1
            self._job.frames_passed += 1
            self._job.frame_idx = frame.index
            self._keep(frame, FrameMasks.of(result))
            unsaved += 1
            if unsaved >= SPACING_FRAMES:
                self._save(session, frame.index)
                unsaved = 0
            self._t.on_frame(self._job, frame.index)
            if self._agreeing >= AGREEING_FRAMES:
                break
        if unsaved and previous is not None:
            self._save(session, previous)
        self._note_doubts()

    def _begin(self) -> tuple[Session, int | None]:
        this, t = self._pass, self._t
        if this.start is not None:
            return begin_from(t.tracker, this.start, this.obj_ids, t.video, reverse=this.reverse)
        return t.tracker.start(t.video.num_frames, reverse=this.reverse), None

    def _frames(self) -> Iterator[Frame]:
        low, high = sorted((self._pass.begin, self._pass.end))
        keep_decoded = self._t.tracker.traits.takes_decoded
        with read(
            self._t.video.source,
            start=low,
            end=high + 1,
            reverse=self._pass.reverse,
            keep_decoded=keep_decoded,
        ) as frames:
            yield from frames

    def _is_over(self, frame_idx: int) -> bool:
        """Whether a correction has come to a frame that a person has reviewed."""
        return self._is_beyond(frame_idx) and self._is_reviewed(frame_idx)

    def _is_reviewed(self, frame_idx: int) -> bool:
        return is_in(self._t.project.reviewed(), frame_idx)  # asked anew: people go on while this tracks

    def _is_answered(self, said: Said | None) -> bool:
        """Whether a person answered for a mask: drew it, or said what came too late for this pass to give."""
        if said is None or said.is_drawn:
            return said is not None
        planned = self._pass.said.get((said.obj_id, said.frame_idx))
        return planned is None or replace(said, in_turn=planned.in_turn) != planned

    def _keep(self, frame: Frame, masks: FrameMasks) -> None:
        """Keep the masks of a frame, but for those that a person has answered for."""
        project, rows, agrees = self._t.project, [], True
        is_corrected = self._pass.corrected == frame.index
        # In one transaction, so that nobody says anything between the question and what is written.
        with project.database.within(self._job.act_id):
            is_kept = self._is_reviewed(frame.index) and not is_corrected
            for row, obj_id in enumerate(masks.obj_ids):
                low, high = self._pass.written.get(obj_id, (1, 0))
                if not low <= frame.index <= high:
                    continue
                said, old = project.said_on(obj_id, frame.index), project.mask(obj_id, frame.index)
                if self._pass.corrected is not None and not is_corrected:
                    agrees &= old is not None and self._agree(old, masks.masks[row])
                if not is_kept and not self._is_answered(said):
                    project.put_mask(self._mask(masks, row, is_said=said is not None))
                    rows.append(row)
        self._agreeing = self._agreeing + 1 if agrees and self._is_beyond(frame.index) else 0
        if rows:
            self._seen.append(frame.index)
            self._review.see(frame, _only(masks, rows))

    def _is_beyond(self, frame_idx: int) -> bool:
        corrected = self._pass.corrected
        if corrected is None:
            return False
        return frame_idx < corrected if self._pass.reverse else frame_idx > corrected

    def _mask(self, masks: FrameMasks, row: int, *, is_said: bool) -> Mask:
        return Mask.of(
            masks.masks[row],
            masks.frame_idx,
            masks.obj_ids[row],
            "P" if is_said else KIND_OF_STATE[masks.states[row]],
            time_s=masks.pts_seconds,
            score=masks.scores[row],
            hidden=None if masks.hidden is None else masks.hidden[row],
            reverse=self._pass.reverse,
        )

    def _agree(self, old: Mask, pixels: npt.NDArray[np.bool_]) -> bool:
        return iou(old.pixels(self._t.video.info.size_hw), pixels) > AGREEING_IOU

    def _save(self, session: Session, frame_idx: int) -> None:
        """Save the session, in place of those that an earlier pass left on the frames since the last one."""
        obj_ids = [obj_id for obj_id in self._pass.obj_ids if obj_id in session.obj_ids]
        first, last = sorted((self._unsaved_from, frame_idx))
        self._t.saved.save(
            session,
            obj_ids,
            frame_idx,
            reverse=self._pass.reverse,
            act_id=self._job.act_id,
            instead_of=(first, last),
        )
        self._unsaved_from = frame_idx + (-1 if self._pass.reverse else 1)

    def _note_doubts(self) -> None:
        if not self._seen:
            return
        with self._t.project.database.within(self._job.act_id):
            for obj_id in self._pass.obj_ids:
                self._t.project.forget_doubts(obj_id, min(self._seen), max(self._seen))
            self._t.project.add_doubts(self._review.document())


def _only(masks: FrameMasks, rows: list[int]) -> FrameMasks:
    """The masks of some rows."""
    return FrameMasks(
        masks.frame_idx,
        masks.pts_seconds,
        masks.size_hw,
        [masks.obj_ids[row] for row in rows],
        masks.masks[rows],
        [masks.scores[row] for row in rows],
        [masks.states[row] for row in rows],
    )
