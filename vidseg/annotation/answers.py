"""Answers prompts on one frame at once: what the tracker makes of them there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from vidseg.annotation.masks import Mask
from vidseg.annotation.project import Project, Said
from vidseg.annotation.starts import Start, Starts, in_turn, object_prompts, prompt_of
from vidseg.pipeline.prompt_schedule import give
from vidseg.pipeline.read.random_access import RandomAccess
from vidseg.trackers.contract import Frame, FrameResult, Session, Tracker

KEPT_FRAMES = 4
"""How many frames stay encoded; a person goes to and fro between few."""


@dataclass
class _Desk:
    """A frame under a person's hands: a session that has seen it alone, so that it is encoded once."""

    frame: Frame
    session: Session
    is_encoded: bool = False


class Answers:
    """Answers what was said of an object on a frame, as tracking into that frame would.

    An object that was tracked to the frame is answered from the session before it, so that the answer is the
    very mask that tracking again would give. Others are answered from the frame alone. One answer is made at
    a time.

    Args:
        video: for this class alone, as it keeps its place.
        scratch: a folder for sessions that were stepped up to a frame.
    """

    def __init__(
        self, tracker: Tracker, video: RandomAccess, project: Project, starts: Starts, scratch: Path
    ) -> None:
        self._tracker = tracker
        self._video = video
        self._project = project
        self._starts = starts
        self._scratch = scratch
        self._desks: OrderedDict[int, _Desk] = OrderedDict()
        self._ready: tuple[tuple[int, int, Start], Path] | None = None
        self._lock = threading.Lock()
        self._next_id = 1

    def prepare(self, frame_idx: int) -> None:
        """Decode and encode a frame, so that the first answer on it comes at once."""
        with self._lock:
            desk = self._desk(frame_idx)
            if not desk.is_encoded:
                height, width = desk.frame.size_hw
                desk.session.refine(self._next_id, points=[[width / 2, height / 2]], labels=[1])
                desk.session.remove(self._next_id)
                desk.is_encoded = True

    def time_of(self, frame_idx: int) -> float:
        """The presentation time of a frame in seconds."""
        with self._lock:
            return self._desk(frame_idx).frame.pts_seconds

    def answer(self, said: Said) -> Mask:
        """The mask of an object from all that was said of it on a frame.

        Raises:
            PromptError: it does not fit the frame.
        """
        with self._lock:
            reverse = self._starts.direction_at(said.obj_id, said.frame_idx)
            start = None
            if reverse is not None:
                start = self._starts.before(said.obj_id, said.frame_idx, reverse=reverse)
            if reverse is None or start is None:
                return self._fresh(said)
            return self._following(said, start, reverse=reverse)

    def _fresh(self, said: Said) -> Mask:
        desk = self._desk(said.frame_idx)
        temporary, self._next_id = self._next_id, self._next_id + 1
        prompt = prompt_of(said, desk.frame.size_hw)
        result = desk.session.refine(
            temporary,
            box=None if prompt.box is None else prompt.box.tolist(),
            points=prompt.points_xy.tolist() if len(prompt.points_xy) else None,
            labels=prompt.labels.tolist() if len(prompt.points_xy) else None,
            mask=prompt.mask,
        )
        mask = _mask_of(result, temporary, said, reverse=False)
        desk.session.remove(temporary)
        return mask

    def _following(self, said: Said, start: Start, *, reverse: bool) -> Mask:
        frame = self._desk(said.frame_idx).frame
        session = self._tracker.restore(self._session_before(said, start, reverse=reverse))
        give(session, said.obj_id, prompt_of(said, frame.size_hw))
        return _mask_of(session.step(frame), said.obj_id, said, reverse=reverse)

    def _session_before(self, said: Said, start: Start, *, reverse: bool) -> Path:
        """A file with the session of one object that is about to step to the frame."""
        key = (said.obj_id, said.frame_idx, start)
        if self._ready is not None and self._ready[0] == key:
            return self._ready[1]
        session, previous = begin_from(self._tracker, start, [said.obj_id], self._video, reverse=reverse)
        others = [s for s in self._project.said(said.obj_id) if s.frame_idx != said.frame_idx]
        seed = start.mask
        schedule = in_turn(
            [object_prompts(said.obj_id, others, self._video.info.size_hw, seed=seed)], reverse=reverse
        )
        step = -1 if reverse else 1
        for frame_idx in range(start.frame_idx + (step if previous is not None else 0), said.frame_idx, step):
            schedule.prompt(session, previous, frame_idx)
            session.step(self._video.frame(frame_idx))
            previous = frame_idx
        path = self._scratch / "before.safetensors"
        session.save(path)
        self._ready = (key, path)
        return path

    def _desk(self, frame_idx: int) -> _Desk:
        if frame_idx not in self._desks:
            frame = self._video.frame(frame_idx)
            session = self._tracker.start()
            session.step(frame)
            self._desks[frame_idx] = _Desk(frame, session)
            while len(self._desks) > KEPT_FRAMES:
                self._desks.popitem(last=False)
        self._desks.move_to_end(frame_idx)
        return self._desks[frame_idx]


def begin_from(
    tracker: Tracker, start: Start, obj_ids: list[int], video: RandomAccess, *, reverse: bool
) -> tuple[Session, int | None]:
    """A session with some objects at a start, and the frame it was stepped to last (None: a new session)."""
    if start.session_file is None:
        return tracker.start(video.num_frames, reverse=reverse), None
    session = tracker.restore(start.session_file)
    for other in set(session.obj_ids) - set(obj_ids):
        session.remove(other)
    return session, start.frame_idx


def _mask_of(result: FrameResult, obj_id: int, said: Said, *, reverse: bool) -> Mask:
    row = result.obj_ids.index(obj_id)
    return Mask.of(
        result.masks[row],
        said.frame_idx,
        said.obj_id,
        "P",
        time_s=result.pts_seconds,
        score=float(result.scores[row]),
        reverse=reverse,
    )
