"""A progress bar for people who look at a terminal."""

from __future__ import annotations

import sys
from typing import Protocol


class Progress(Protocol):
    """Is told how a run comes along."""

    def start(self, total: int | None, done: int) -> None:
        """A run of `total` frames (None: nobody knows) begins, `done` of them before it."""
        ...

    def advance(self) -> None:
        """One more frame is through."""
        ...

    def close(self) -> None: ...


class Silent:
    """No bar."""

    def start(self, total: int | None, done: int) -> None:
        pass

    def advance(self) -> None:
        pass

    def close(self) -> None:
        pass


class Bar:
    """Frames, frames per second and time left, on standard error."""

    def start(self, total: int | None, done: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=total, initial=done, unit="frame", file=sys.stderr, dynamic_ncols=True, leave=False
        )

    def advance(self) -> None:
        self._bar.update()

    def close(self) -> None:
        if hasattr(self, "_bar"):
            self._bar.close()


def bar(*, quiet: bool) -> Progress:
    """A bar, unless nobody would see it."""
    return Silent() if quiet or not sys.stderr.isatty() else Bar()
