"""A progress bar for people who look at a terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tqdm import tqdm


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


def new_bar(total: int | None, *, of: str, done: int = 0) -> tqdm[Any]:
    """A bar on standard error, which is a terminal; `of` names what is counted, in the plural."""
    from tqdm import tqdm

    # A terminal that tells no size (in a container, under a script) would get no bar at all.
    has_size = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    return tqdm(
        total=total,
        initial=done,
        unit=f" {of}",
        file=sys.stderr,
        dynamic_ncols=has_size,
        ncols=None if has_size else 80,
        nrows=None if has_size else 24,
        leave=False,
    )


class Bar:
    """Frames, frames per second and time left, on standard error."""

    def start(self, total: int | None, done: int) -> None:
        self._bar = new_bar(total, of="frames", done=done)

    def advance(self) -> None:
        self._bar.update()

    def close(self) -> None:
        if hasattr(self, "_bar"):
            self._bar.close()


def bar(*, quiet: bool) -> Progress:
    """A bar, unless nobody would see it."""
    return Silent() if quiet or not sys.stderr.isatty() else Bar()
