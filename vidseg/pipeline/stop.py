"""Stops a run between two frames when Ctrl-C or a termination signal asks for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """A request to stop.

    The first signal lets the present frame be finished, unless the run only waits (for a silent stream, for
    example); then, and at a second signal, KeyboardInterrupt is raised.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._is_stepping = False

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """A context for work that must not be interrupted."""
        self._is_stepping = True
        try:
            yield
        finally:
            self._is_stepping = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """A context in which SIGINT and SIGTERM ask for a stop. Only for the main thread of a program."""
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
