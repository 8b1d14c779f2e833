"""Which Ray workers have stopped getting on with their jobs: a decoder may hang, or a disk not answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

LOOKS = 20
"""How often workers are asked within the time that one may take to get further."""


@dataclass
class _Seen:
    """What is known of a job in hand."""

    moved_s: float
    """When it was last seen to have got further."""
    progress: int | None = None
    asked: Any = None
    """The reference to the worker's next answer. A worker that hangs may give none."""


class StallWatch:
    """Tells the jobs that get no further.

    Args:
        limit_s: a job may take so many seconds to get further; None: as long as it likes.
    """

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = limit_s
        self._seen: dict[Any, _Seen] = {}
        self._looked_s = 0.0

    def stalled(self, in_hand: Mapping[Any, Any]) -> list[Any]:
        """The jobs that have got no further for the limit. Call it often; workers are asked now and then.

        Args:
            in_hand: reference of the call that does a job -> the actor that does it.
        """
        now = time.monotonic()
        if self.limit_s is None or now - self._looked_s < self.limit_s / LOOKS:
            return []
        if now - self._looked_s > self.limit_s / 2:
            self._seen.clear()  # nobody looked for long, so that answers are old
        self._looked_s = now
        self._seen = {call: self._seen.get(call) or _Seen(now) for call in in_hand}
        for call, seen in self._seen.items():
            if seen.asked is not None and ray.wait([seen.asked], timeout=0)[0]:
                self._take_answer(seen, now)
            if seen.asked is None:
                seen.asked = in_hand[call].progress.remote()
        return [call for call, seen in self._seen.items() if now - seen.moved_s >= self.limit_s]

    def _take_answer(self, seen: _Seen, now: float) -> None:
        asked, seen.asked = seen.asked, None
        try:
            progress = ray.get(asked)
        except RayError:  # the worker has ended, of which its job's own call tells
            return
        if progress != seen.progress:
            seen.progress, seen.moved_s = progress, now
