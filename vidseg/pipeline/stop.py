"""Stopping a run between two frames, when Ctrl-C or a termination signal asks for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """A request to stop.

    The first signal lets the frame in hand be finished, unless the run only waits (for a silent stream, say);
    then, and on a second signal, it raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._is_stepping = False

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """Around work that must not be cut in two."""
        self._is_stepping = True
        try:
            yield
        finally:
            self._is_stepping = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask for a stop, in here. Only for a program's main thread."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_stepping and not self.is_requested:
            self.is_requested = True
        else:
            self.is_requested = True
            raise KeyboardInterrupt
