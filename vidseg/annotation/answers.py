"""Answers prompts on one frame at once: what the tracker makes of them there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vidseg.annotation.masks import Mask
from vidseg.annotation.project import Project, Said
from vidseg.annotation.starts import Start, Starts, in_turn, object_prompts, prompt_of
from vidseg.pipeline.prompt_schedule import give
from vidseg.pipeline.read.random_access import RandomAccess
from vidseg.trackers.contract import Frame, FrameResult, Session, Tracker

KEPT_FRAMES = 4
"""How many frames stay encoded; a person goes to and fro between few."""
KEPT_SESSIONS = 8
"""How many sessions stay that were stepped up to a frame: a few objects on each of a few frames."""


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
        is_awaited: whether somebody waits for an answer; what is prepared for later then gives way.
    """

    def __init__(
        self,
        tracker: Tracker,
        video: RandomAccess,
        project: Project,
        starts: Starts,
        scratch: Path,
        *,
        is_awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        self._tracker = tracker
        self._video = video
        self._project = project
        self._starts = starts
        self._scratch = scratch
        self._is_awaited = is_awaited
        self._desks: OrderedDict[int, _Desk] = OrderedDict()
        self._ready: OrderedDict[str, Path] = OrderedDict()
        self._latest: tuple[str, Mask] | None = None
        self._lock = threading.Lock()
        self._next_id = 1
        self._num_saved = 0

    def prepare(self, frame_idx: int, obj_id: int | None = None) -> None:
        """Decode and encode a frame, so that the first answer on it comes at once.

        Args:
            obj_id: an object whose session is stepped up to the frame, too, as it may be corrected there.
        """
        with self._lock:
            desk = self._desk(frame_idx)
            if not desk.is_encoded:
                height, width = desk.frame.size_hw
                desk.session.refine(self._next_id, points=[[width / 2, height / 2]], labels=[1])
                desk.session.remove(self._next_id)
                desk.is_encoded = True
            followed = None if obj_id is None else self._followed(obj_id, frame_idx)
            if obj_id is not None and followed is not None:
                self._session_before(obj_id, frame_idx, *followed, gives_way=True)

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
            followed = self._followed(said.obj_id, said.frame_idx)
            asked = f"{said} {followed and self._key(said.obj_id, said.frame_idx, followed[0])}"
            if self._latest is None or self._latest[0] != asked:  # a click often follows its own preview
                mask = self._fresh(said) if followed is None else self._following(said, *followed)
                self._latest = asked, mask
            return self._latest[1]

    def _followed(self, obj_id: int, frame_idx: int) -> tuple[Start, bool] | None:
        """Where an object comes from that was tracked to a frame, and whether in reverse."""
        reverse = self._starts.direction_at(obj_id, frame_idx)
        start = None if reverse is None else self._starts.before(obj_id, frame_idx, reverse=reverse)
        return None if reverse is None or start is None else (start, reverse)

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

    def _following(self, said: Said, start: Start, reverse: bool) -> Mask:
        frame = self._desk(said.frame_idx).frame
        path = self._session_before(said.obj_id, said.frame_idx, start, reverse)
        assert path is not None
        session = self._tracker.restore(path)
        give(session, said.obj_id, prompt_of(said, frame.size_hw))
        return _mask_of(session.step(frame), said.obj_id, said, reverse=reverse)

    def _session_before(
        self, obj_id: int, frame_idx: int, start: Start, reverse: bool, *, gives_way: bool = False
    ) -> Path | None:
        """A file with the session of one object that is about to step to the frame.

        Args:
            gives_way: whether to stop, and return None, as soon as somebody waits for an answer.
        """
        key = self._key(obj_id, frame_idx, start)
        if key in self._ready:
            self._ready.move_to_end(key)
            return self._ready[key]
        session, previous = begin_from(self._tracker, start, [obj_id], self._video, reverse=reverse)
        others = [said for said in self._project.said(obj_id) if said.frame_idx != frame_idx]
        schedule = in_turn(
            [object_prompts(obj_id, others, self._video.info.size_hw, seed=start.mask)], reverse=reverse
        )
        step = -1 if reverse else 1
        for number in range(start.frame_idx + (step if previous is not None else 0), frame_idx, step):
            if gives_way and self._is_awaited():
                return None
            schedule.prompt(session, previous, number)
            session.step(self._video.frame(number))
            previous = number
        self._num_saved += 1
        path = self._scratch / f"before-{self._num_saved}.safetensors"
        session.save(path)
        self._ready[key] = path
        while len(self._ready) > KEPT_SESSIONS:
            self._ready.popitem(last=False)[1].unlink(missing_ok=True)
        return path

    def _key(self, obj_id: int, frame_idx: int, start: Start) -> str:
        """Names all that the session of an object, about to step to a frame, depends on."""
        low, high = sorted((start.frame_idx, frame_idx))
        passed = [
            said
            for said in self._project.said(obj_id)
            if low <= said.frame_idx <= high and said.frame_idx != frame_idx
        ]
        return f"{obj_id} {frame_idx} {start} {passed}"

    def _desk(self, frame_idx: int) -> _Desk:
        if frame_idx not in self._desks:
            frame = replace(self._video.frame(frame_idx), kept={})
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
    """A session with some objects at a start, and the frame it was stepped to last (None: a new session).

    Where objects compete, those that go on as they went stay with them.
    """
    if start.session_file is None:
        return tracker.start(video.num_frames, reverse=reverse), None
    session = tracker.restore(start.session_file)
    company = start.company if tracker.traits.objects_compete else ()
    for other in set(session.obj_ids).difference(obj_ids, company):
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
