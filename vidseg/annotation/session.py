"""The interactive session on one video: prompt, watch, correct; every act is saved as it is done.

    with AnnotationSession("cups.mp4", out="runs/cups") as session:
        cup = session.click(0, None, 640, 360, on=True)       # a new object; its mask is there at once
        session.track([cup])
        session.wait()
        session.click(120, cup, 600, 300, on=False)           # a correction ...
        session.retrack(cup, 120)                             # ... costs the frames that it changes
        session.wait()
        session.masks(120)[0].pixels(session.size_hw)         # bool H x W

The page of `vidseg annotate` is a client of this class, which knows no server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from types import TracebackType
from typing import Any

from vidseg.annotation.database import Act
from vidseg.annotation.events import Event, Listeners, error_document, timeline_message
from vidseg.annotation.jobs import AnswersFirst, Jobs
from vidseg.annotation.masks import Mask
from vidseg.annotation.merging import merge_objects
from vidseg.annotation.opening import OpenProject, asked_again
from vidseg.annotation.parts import build_parts
from vidseg.annotation.passes import Direction, Pass
from vidseg.annotation.project import MAX_VERSIONS, AnnotatedObject
from vidseg.annotation.prompting import Points
from vidseg.annotation.run_folder import RunFolder
from vidseg.annotation.spans import checked_span
from vidseg.annotation.state import describe, describe_changing, describe_progress
from vidseg.annotation.telling import Telling
from vidseg.annotation.tracking import TrackingJob
from vidseg.errors import InputError, VidsegError
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.contract import Tracker
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker

WRITING_DELAY_S = 2.0
"""The files of the run follow the database after this many seconds without an act."""


class AnnotationSession:
    """One video being annotated. Any thread may call it; acts are done one by one, tracking beside them.

    Args:
        source: a video file, a folder of frames, or the folder of a run.
        out: the project's folder; None: that of the run, else runs/<name of the source>.
        tracker: a name that `vidseg models` lists, the path of a YAML file, or a tracker.
        asked: options that the tracker was built with, for run.json; or is to be built with.

    Raises:
        InputError: the source cannot be read or sought in, or the folder belongs to something else.
        OutputBusyError: the project is open elsewhere.
    """

    def __init__(
        self,
        source: str | PathLike[str],
        out: str | PathLike[str] | None = None,
        *,
        tracker: str | PathLike[str] | Tracker = DEFAULT_TRACKER,
        asked: TrackerOptions | None = None,
    ) -> None:
        if isinstance(tracker, Tracker):
            self.tracker, asked = tracker, asked or TrackerOptions()
        else:
            asked = asked_again(asked or TrackerOptions.of(tracker), source, out)
            self.tracker = build_tracker(asked)
        opened = OpenProject.of(source, out)
        self._opened = opened
        self.folder, self.video, self.project = opened.folder, opened.video, opened.project
        self.size_hw, self.num_frames = self.video.info.size_hw, self.video.num_frames
        self.listeners = Listeners()
        """Those who are told of every change; see `vidseg.annotation.events`."""
        self.files = RunFolder(self.folder, self.video, self.tracker, asked, self.listeners)
        self._telling = Telling(
            self.listeners,
            self.project,
            size_hw=self.size_hw,
            num_frames=self.num_frames,
            state=lambda: describe_changing(self),
            progress=lambda: describe_progress(self),
        )
        self._lock, self._files_lock = threading.RLock(), threading.RLock()
        self._answers_first = AnswersFirst()
        self._timer: threading.Timer | None = None
        self._is_closed = False
        self._parts = build_parts(
            self.tracker,
            opened,
            answers_first=self._answers_first,
            on_frame=lambda job, frame_idx: self._telling.frame(frame_idx, job.obj_ids),
        )
        self.answers = self._parts.answers
        self._prompting = self._parts.prompting
        self._jobs = Jobs(self._parts.tracking, self._job_ended)
        self.write_files()

    # What is said of objects on frames. Each returns the object, a new one where `obj_id` is None.

    def click(self, frame_idx: int, obj_id: int | None, x: float, y: float, *, on: bool = True) -> int:
        """Add a point, on the object or off it. Raises PromptError: see `Prompting`."""
        return self._prompt(frame_idx, lambda: self._prompting.click(frame_idx, obj_id, x, y, on=on))

    def box(self, frame_idx: int, obj_id: int | None, box: Sequence[float]) -> int:
        """Set the box, (x0, y0, x1, y1)."""
        return self._prompt(frame_idx, lambda: self._prompting.box(frame_idx, obj_id, box))

    def lasso(self, frame_idx: int, obj_id: int | None, points: Points, mode: str = "replace") -> int:
        """Draw a filled polygon; `mode` is 'replace', 'add' or 'erase'."""
        return self._prompt(frame_idx, lambda: self._prompting.lasso(frame_idx, obj_id, points, mode))

    def brush(
        self, frame_idx: int, obj_id: int | None, points: Points, radius_px: float, mode: str = "add"
    ) -> int:
        """Draw a stroke; `mode` is 'add' or 'erase'."""
        return self._prompt(
            frame_idx, lambda: self._prompting.brush(frame_idx, obj_id, points, radius_px, mode)
        )

    def unprompt(self, frame_idx: int, obj_id: int, point: int | None = None) -> None:
        """Take back one point, by its place, or all that was said of an object on a frame."""
        self._prompt(frame_idx, lambda: self._prompting.unprompt(frame_idx, obj_id, point))

    def preview(self, frame_idx: int, obj_id: int | None, x: float, y: float, *, on: bool = True) -> Mask:
        """The mask that a click would give; nothing changes."""
        with self._answers_first.answering():
            return self._prompting.preview(frame_idx, obj_id, x, y, on=on)

    # Objects

    def add_object(self, *, label: str = "", colour: str | None = None) -> int:
        with self._act("Add an object"):
            obj_id = self.project.add_object(label=label, colour=colour)
        self._changed()
        return obj_id

    def set_object(self, obj_id: int, **changes: Any) -> None:
        """Change `label`, `colour` ('#rrggbb'), `visible` or `locked`."""
        with self._act(f"Change {self.project.object(obj_id).name}"):
            self.project.set_object(obj_id, **changes)
        self._changed()

    def remove_object(self, obj_id: int) -> None:
        self._jobs.stop()
        with self._act(f"Delete {self.project.object(obj_id).name}", [obj_id]):
            self.project.remove_object(obj_id)
        self._changed_everything([obj_id])

    def merge_objects(self, obj_id: int, into: int) -> None:
        """Give the masks of an object to another one, and remove it."""
        self._jobs.stop()
        names = self.project.object(obj_id).name, self.project.object(into).name
        with self._act(f"Merge {names[0]} into {names[1]}", [into]):
            merge_objects(self.project, obj_id, into, self.size_hw)
        self._changed_everything([obj_id])

    # Marks

    def set_absent(self, obj_id: int, first: int, last: int, *, on: bool = True) -> None:
        """Say that an object is not in sight on frames, or take that back."""
        first, last = checked_span(first, last, self.num_frames)
        with self._act(f"Set {self.project.object(obj_id).name} absent", [obj_id]):
            self.project.set_absent(obj_id, first, last, on=on)
        self._telling.frames([obj_id], (first, last))
        self._changed()

    def set_reviewed(self, first: int, last: int, *, on: bool = True) -> None:
        """Mark frames as reviewed, or take it back; tracking does not change the masks of reviewed frames."""
        first, last = checked_span(first, last, self.num_frames)
        with self._act("Mark as reviewed" if on else "Take back the review"):
            self.project.set_reviewed(first, last, on=on)
        self._changed()

    def flag(self, frame_idx: int, note: str | None) -> None:
        """Flag a frame with a note; None takes it back."""
        checked_span(frame_idx, frame_idx, self.num_frames)
        with self._act("Flag a frame" if note is not None else "Take back a flag"):
            self.project.set_flag(frame_idx, note)
        self._changed()

    # Tracking

    def track(
        self,
        obj_ids: Sequence[int] | None = None,
        direction: Direction = "forward",
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        """Begin to track objects (None: all that are not locked) from what was said of them; see `wait`.

        Args:
            first, last: track these frames alone; an object that was tracked to their border goes on there.

        Raises:
            PromptError: an object has neither a prompt there nor a mask to go on from.
            InputError: tracking is under way.
        """
        with self._lock:
            chosen = [thing for thing in self.project.objects() if self._is_tracked(thing, obj_ids)]
            if not chosen:
                raise InputError("there is no object to track", hint="click an object, or unlock one")
            passes = self._parts.planner.track([thing.obj_id for thing in chosen], direction, first, last)
            more = f" and {len(chosen) - 1} more" if len(chosen) > 1 else ""
            self._begin_job(f"Track {chosen[0].name}{more}", passes)

    def retrack(self, obj_id: int, frame_idx: int) -> None:
        """Begin to carry a correction on: one object, until it agrees with what was there; see `wait`.

        Raises:
            PromptError: the object was not tracked to this frame.
            InputError: tracking is under way.
        """
        with self._lock:
            passes = self._parts.planner.retrack(obj_id, frame_idx)
            is_correction = any(each.start is not None for each in passes)
            act_id = self._begin_job(
                f"Correct {self.project.object(obj_id).name} from frame {frame_idx}", passes
            )
            said = self.project.said_on(obj_id, frame_idx)
            if said is not None and is_correction and not said.in_turn:
                with self.project.database.within(act_id):
                    self.project.say(replace(said, in_turn=True))
                self.files.write_prompts(self.project)

    def cancel(self) -> None:
        """Stop tracking after the frame in hand; what was tracked stays."""
        self._jobs.cancel()

    def wait(self) -> TrackingJob | None:
        """Return the latest tracking job when it has ended; raises the error that ended it, if one did."""
        return self._jobs.wait()

    # History

    def undo(self) -> Act | None:
        """Take the latest act back; None if there is none."""
        return self._go(self.project.database.undo)

    def redo(self) -> Act | None:
        """Do again what was undone last."""
        return self._go(self.project.database.redo)

    def versions(self) -> list[Act]:
        """The latest acts that changed masks on many frames; `restore` goes back to before one of them."""
        return [act for act in self.project.database.acts() if act.obj_ids][:MAX_VERSIONS]

    def restore(self, version: int, obj_id: int) -> None:
        """Put an object's masks, and what was said of it, back to what they were before a version.

        Raises:
            InputError: the version is not among `versions()`.
        """
        if version not in [act.act_id for act in self.versions()]:
            raise InputError(f"there is no version {version}", hint="choose one of those that are listed")
        self._jobs.stop()
        name = self.project.object(obj_id).name
        with self._act(f"Restore {name}", [obj_id]):
            self.project.restore(obj_id, version)
        self._changed_everything()

    def masks(self, frame_idx: int) -> list[Mask]:
        """The masks of a frame; those of kind 'X' are set absent."""
        return self.project.masks_on(frame_idx)

    def tell_masks(self, frame_idx: int, tell: Callable[[Event], None]) -> None:
        self._telling.masks(frame_idx, tell)

    def timelines(self) -> Iterator[dict[str, Any]]:
        """What is known of every object on every frame, as events."""
        for thing in self.project.objects():
            yield timeline_message(self.project, thing.obj_id, 0, self.num_frames - 1)

    def state(self) -> dict[str, Any]:
        """All but masks and timelines, as JSON values; STATE in docs/annotate_protocol.md."""
        return describe(self)

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody waits for anything, nor did a moment ago."""
        return not self._jobs.is_busy and self._answers_first.is_settled

    def job_document(self) -> dict[str, Any] | None:
        """How far tracking has come, as JSON values; None if none is under way."""
        return self._jobs.document()

    def write_files(self) -> None:
        """Write the files of the run and the prompts as they are now; acts need not wait for it."""
        with self._lock:
            self.files.write_prompts(self.project)
        with self._files_lock:
            self.files.write_run(self.project)

    def close(self) -> None:
        """Stop tracking, write the files of the run, let go of the project. It is safe to call it twice."""
        if self._is_closed:
            return
        self._jobs.stop()
        self._is_closed = True
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            with self._files_lock:
                self.write_files()
                self._parts.close()
                self._opened.close()

    def __enter__(self) -> AnnotationSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _act(self, title: str, obj_ids: Sequence[int] = ()) -> Iterator[None]:
        """An act that is done at once; `obj_ids`: see `vidseg.annotation.database.Act`."""
        with self._lock, self.project.database.act(title, obj_ids):
            yield

    def _prompt(self, frame_idx: int, do: Callable[[], int]) -> int:
        with self._lock, self._answers_first.answering():
            obj_id = do()
            self.files.write_prompts(self.project)
        self._telling.frame(frame_idx, [obj_id])
        self._changed()
        return obj_id

    def _is_tracked(self, thing: AnnotatedObject, obj_ids: Sequence[int] | None) -> bool:
        """Whether `track` is to track an object; None asks for all of which something was said."""
        if thing.locked:
            return False
        return bool(self.project.said(thing.obj_id)) if obj_ids is None else thing.obj_id in obj_ids

    def _begin_job(self, title: str, passes: list[Pass]) -> int:
        """Begin to track; returns the act."""
        self._jobs.check_free()
        obj_ids = sorted({obj_id for each in passes for obj_id in each.obj_ids})
        act_id = self.project.database.begin(title, obj_ids)
        self._jobs.begin(title, passes, act_id)
        self._telling.state()
        return act_id

    def _job_ended(self, job: TrackingJob, error: Exception | None) -> None:
        if error is not None:
            told = error if isinstance(error, VidsegError) else VidsegError(f"tracking failed ({error})")
            self.listeners.tell(error_document(told))
        self._changed()

    def _go(self, move: Callable[[], Act | None]) -> Act | None:
        """Undo or redo."""
        self._jobs.stop()
        with self._lock:
            before = {thing.obj_id for thing in self.project.objects()}
            act = move()
            self.files.write_prompts(self.project)
            gone = before - {thing.obj_id for thing in self.project.objects()}
        if act is not None:
            self._telling.everything(gone)
            self._changed()
        return act

    def _changed_everything(self, gone: Sequence[int] = ()) -> None:
        with self._lock:
            self.files.write_prompts(self.project)
        self._telling.everything(gone)
        self._changed()

    def _changed(self) -> None:
        """Tell of an act, and let the files follow."""
        self._telling.state()
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if not self._is_closed:
                self._timer = threading.Timer(WRITING_DELAY_S, self._write_later)
                self._timer.daemon = True
                self._timer.start()

    def _write_later(self) -> None:
        try:
            with self._lock:
                if self._is_closed or self._jobs.is_busy:
                    return
                self.files.write_prompts(self.project)
            with self._files_lock:
                if not self._is_closed:
                    self.files.write_run(self.project)
        except OSError as error:  # nobody waits for this, but a person should know
            self.files.tell_unwritten(error)
