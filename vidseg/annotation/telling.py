"""Tells listeners what an act has changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from vidseg.annotation.events import Event, Listeners, masks_message, timeline_message
from vidseg.annotation.project import Project
from vidseg.annotation.spans import Span

TELLING_EVERY_S = 0.5
"""Seconds between two reports of how far tracking has come."""


class Telling:
    """Sends listeners the parts of the state that have changed since they were sent last.

    Args:
        state: the whole state, as JSON values.
        progress: the part of it that changes while tracking.
    """

    def __init__(
        self,
        listeners: Listeners,
        project: Project,
        *,
        size_hw: tuple[int, int],
        num_frames: int,
        state: Callable[[], dict[str, Any]],
        progress: Callable[[], dict[str, Any]],
    ) -> None:
        self._listeners = listeners
        self._project = project
        self._size_hw = size_hw
        self._num_frames = num_frames
        self._state = state
        self._progress = progress
        self._told: dict[str, Any] = {}
        self._told_at = 0.0
        self._lock = threading.RLock()
        """Held from looking at the project to telling of it, so that nothing older is told after news."""

    def state(self) -> None:
        """Send what has changed of the state."""
        if not self._listeners.is_empty:
            self._patch(self._state)

    def frame(self, frame_idx: int, obj_ids: Iterable[int]) -> None:
        """Send the masks of a frame, and now and then how far tracking has come."""
        if self._listeners.is_empty:
            return
        self.masks(frame_idx, self._listeners.tell)
        for obj_id in obj_ids:
            self._listeners.tell(timeline_message(self._project, obj_id, frame_idx, frame_idx))
        if time.monotonic() - self._told_at > TELLING_EVERY_S:
            self._told_at = time.monotonic()
            self._patch(self._progress)

    def masks(self, frame_idx: int, tell: Callable[[Event], None]) -> None:
        """Send the masks of a frame by a function."""
        with self._lock:
            tell(masks_message(frame_idx, self._project.masks_on(frame_idx), self._size_hw))

    def frames(self, obj_ids: Iterable[int], span: Span) -> None:
        """Say that masks of objects on many frames have changed."""
        if self._listeners.is_empty:
            return
        for obj_id in obj_ids:
            self._listeners.tell(timeline_message(self._project, obj_id, *span))
        self._listeners.tell({"type": "stale", "first": span[0], "last": span[1]})
        self.state()

    def everything(self, gone: Iterable[int] = ()) -> None:
        """Say that anything may have changed.

        Args:
            gone: objects that are there no more.
        """
        for obj_id in gone:
            self._listeners.tell({"type": "timeline_gone", "object": obj_id})
        self.frames([thing.obj_id for thing in self._project.objects()], (0, self._num_frames - 1))

    def _patch(self, describe: Callable[[], dict[str, Any]]) -> None:
        with self._lock:
            now = describe()
            changed = {key: value for key, value in now.items() if self._told.get(key, ...) != value}
            self._told |= changed
            if changed:
                self._listeners.tell({"type": "patch", "state": changed})
