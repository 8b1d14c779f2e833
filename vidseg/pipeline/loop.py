"""The tracking loop: a frame is read, prompted, stepped into, and its masks are handed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vidseg.pipeline.progress import Progress
from vidseg.pipeline.prompt_schedule import PromptSchedule
from vidseg.pipeline.run_record import RunRecord
from vidseg.pipeline.stop import Stop
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.trackers.contract import Frame, FrameResult, Session

if TYPE_CHECKING:
    from vidseg.trackers.discovery.discovery import Discovery


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One pass over the frames of a source, forward or in reverse."""

    schedule: PromptSchedule
    obj_ids: list[int]
    """Objects to report, in this order; those that are not in the schedule are absent."""
    deliver: Callable[[Frame, FrameMasks], None]
    """Takes each frame with its masks; returns when there is room for the next one."""
    save_session: Callable[[Session | None, int], None]
    """Saves the session (None while no object has started) as it is after a frame."""
    save_every: int
    """Frames between two resume points; 0: none is made, not even when stopped."""
    record: RunRecord
    progress: Progress
    stop: Stop
    absent: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)
    """Object id -> spans of frames, both ends inclusive, on which it has no mask."""
    discovery: Discovery | None = None
    """Finds objects besides those that are prompted; these are reported while they are followed."""
    may_lag: bool = False
    """Whether masks that a GPU still computes may wait until the next frame is begun, so that it always has
    something to do. From a live source the next frame may be long in coming."""

    def run(self, frames: Iterator[Frame], session: Session, previous_idx: int | None = None) -> int | None:
        """Track to the end of `frames`; returns the number of the last one, None if there was none.

        Args:
            previous_idx: the frame before the first of `frames`, if a run is resumed.

        Raises:
            KeyboardInterrupt: a stop was asked for; the session is saved, and the masks so far are delivered.
        """
        begun: list[tuple[Frame, FrameMasks | FrameResult]] = []
        try:
            return self._run(frames, session, previous_idx, begun)
        finally:
            with self.stop.stepping():
                self._hand_on(begun)

    def _run(
        self,
        frames: Iterator[Frame],
        session: Session,
        previous_idx: int | None,
        begun: list[tuple[Frame, FrameMasks | FrameResult]],
    ) -> int | None:
        """Do what `run` does, but for a last frame that is left in `begun`."""
        unsaved = 0
        while True:
            try:
                with self.record.timing("read"):
                    frame = next(frames, None)
            except KeyboardInterrupt:  # between two frames the session can be saved
                if self.save_every and unsaved:
                    with self.stop.stepping():
                        self._hand_on(begun)
                    self._save(session, previous_idx)
                raise
            if frame is None:
                return previous_idx
            with self.stop.stepping():
                with self.record.timing("track"):
                    begun.append((frame, self._begin(session, previous_idx, frame)))
                unsaved += 1
                self._hand_on(begun, but_coming=self.may_lag)
                is_stopped = self.stop.is_requested  # asked after writers took a frame, as they may be long
                if self.save_every and (unsaved == self.save_every or is_stopped):
                    self._hand_on(begun)
                    self._save(session, frame.index)
                    unsaved = 0
            previous_idx = frame.index
            if is_stopped:
                raise KeyboardInterrupt

    def _hand_on(
        self, begun: list[tuple[Frame, FrameMasks | FrameResult]], *, but_coming: bool = False
    ) -> None:
        """Deliver the frames that were begun; but not the last one, if asked so, while it is computed."""
        while begun and not (but_coming and len(begun) == 1 and begun[0][1].is_coming):
            frame, answer = begun.pop(0)
            with self.record.timing("track"):
                masks = self._masks_of(frame, answer)
            with self.record.timing("write"):
                self.deliver(frame, masks)
            self.progress.advance()

    def _save(self, session: Session, frame_idx: int | None) -> None:
        if frame_idx is not None:
            with self.record.timing("write"):
                self.save_session(session if self.schedule.has_started(frame_idx) else None, frame_idx)

    def _begin(self, session: Session, previous_idx: int | None, frame: Frame) -> FrameMasks | FrameResult:
        """Track into a frame; a GPU may still compute the result."""
        self.schedule.prompt(session, previous_idx, frame.index)
        if not self.schedule.has_started(frame.index):  # frames without objects need no tracking
            return nothing_on(frame, self.obj_ids)
        step = session.step if self.discovery is None else partial(self.discovery.step, session)
        return step(frame)

    def _masks_of(self, frame: Frame, answer: FrameMasks | FrameResult) -> FrameMasks:
        """What is handed on of a frame."""
        if isinstance(answer, FrameMasks):
            return answer
        # Absent objects go first: where masks overlap, they must not take pixels from the others.
        present = [obj_id for obj_id in answer.obj_ids if not self._is_absent(obj_id, frame.index)]
        masks = FrameMasks.of(answer.of_objects(present))
        obj_ids = self.obj_ids if self.discovery is None else [*self.obj_ids, *masks.obj_ids]
        return with_all_objects(masks, list(dict.fromkeys(obj_ids)))

    def _is_absent(self, obj_id: int, frame_idx: int) -> bool:
        return any(first <= frame_idx <= last for first, last in self.absent.get(obj_id, ()))


def nothing_on(frame: Frame, obj_ids: Sequence[int]) -> FrameMasks:
    """The masks of a frame on which every object is absent."""
    return FrameMasks(
        frame.index,
        frame.pts_seconds,
        frame.size_hw,
        list(obj_ids),
        np.zeros((len(obj_ids), *frame.size_hw), np.bool_),
        [0.0] * len(obj_ids),
        ["absent"] * len(obj_ids),
    )


def with_all_objects(masks: FrameMasks, obj_ids: Sequence[int]) -> FrameMasks:
    """The masks in the order of `obj_ids`; objects that are not among them are absent."""
    if list(masks.obj_ids) == list(obj_ids):
        return masks
    rows = {obj_id: row for row, obj_id in enumerate(masks.obj_ids)}

    def in_order(pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        ordered = np.zeros((len(obj_ids), *masks.size_hw), np.bool_)
        for place, obj_id in enumerate(obj_ids):
            if obj_id in rows:
                ordered[place] = pixels[rows[obj_id]]
        return ordered

    return FrameMasks(
        masks.frame_idx,
        masks.pts_seconds,
        masks.size_hw,
        list(obj_ids),
        in_order(masks.masks),
        [masks.scores[rows[i]] if i in rows else 0.0 for i in obj_ids],
        [masks.states[rows[i]] if i in rows else "absent" for i in obj_ids] if masks.states else [],
        None if masks.hidden is None else in_order(masks.hidden),
    )
