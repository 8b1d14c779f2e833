"""Tracking beside the acts: one job at a time, in a thread, which lets answers pass between two frames."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vidseg.annotation.memory import give_back
from vidseg.annotation.passes import Pass
from vidseg.annotation.tracking import Tracking, TrackingJob
from vidseg.errors import InputError

SETTLED_S = 2.0
"""So long after an answer it is taken that no other one will be asked for at once."""
LONGEST_WAIT_S = 2.0
"""Tracking goes on after waiting so long for an answer, so that a stream of previews cannot hold it up."""


class AnswersFirst:
    """Lets answers go before the next step of the tracker."""

    def __init__(self) -> None:
        self._count = 0
        self._latest_s = -math.inf
        self._changed = threading.Condition()

    @contextmanager
    def answering(self) -> Iterator[None]:
        with self._changed:
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._latest_s = time.monotonic()
                self._changed.notify_all()

    @property
    def is_awaited(self) -> bool:
        """Whether an answer is being made."""
        return self._count > 0

    @property
    def is_settled(self) -> bool:
        """Whether no answer is being made, and none was a moment ago."""
        return self._count == 0 and time.monotonic() - self._latest_s > SETTLED_S

    def let_pass(self) -> None:
        """Return when no answer is being made."""
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0, timeout=LONGEST_WAIT_S)


class Jobs:
    """Runs one tracking job at a time.

    Args:
        on_end: called when a job has ended, with its error if there was one.
    """

    def __init__(self, tracking: Tracking, on_end: Callable[[TrackingJob, Exception | None], None]) -> None:
        self._tracking = tracking
        self._on_end = on_end
        self._job: TrackingJob | None = None
        self._latest: TrackingJob | None = None
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._began = 0.0

    @property
    def is_busy(self) -> bool:
        return self._job is not None

    def check_free(self) -> None:
        """Raise an InputError if tracking is under way."""
        if self._job is not None:
            raise InputError("tracking is under way", hint="wait until it is done, or cancel it")

    def begin(self, title: str, passes: Sequence[Pass], act_id: int) -> None:
        self._job = self._latest = TrackingJob(passes, act_id, title)
        self._error = None
        self._began = time.monotonic()
        self._thread = threading.Thread(
            target=self._run, args=(self._job,), name="vidseg-annotate-track", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Stop after the frame in hand; what was tracked stays."""
        job = self._job
        if job is not None:
            job.is_cancelled.set()

    def wait(self) -> TrackingJob | None:
        """Return the latest job when it has ended; raises the error that ended it."""
        thread = self._thread
        if thread is not None:
            thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._latest

    def stop(self) -> None:
        """Cancel, and return when the job has ended."""
        self.cancel()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def document(self) -> dict[str, Any] | None:
        """How far the job has come, as JSON values; None if there is none."""
        job = self._job
        if job is None:
            return None
        seconds = time.monotonic() - self._began
        left = (job.total - job.frames_passed) * seconds / job.frames_passed if job.frames_passed else None
        return {
            "kind": "track",
            "objects": job.obj_ids,
            "title": job.title,
            "frame": job.frame_idx,
            "done": job.frames_passed,
            "total": job.total,
            "seconds_left": None if left is None else round(left, 1),
        }

    def _run(self, job: TrackingJob) -> None:
        try:
            self._tracking.run(job)
        except Exception as error:  # it is for whoever waits, or listens
            self._error = error
        give_back()
        self._job = None
        self._on_end(job, self._error)
