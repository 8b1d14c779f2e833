"""A progress bar for people who look at a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress(Protocol):
    """Shows or uses the progress of a run."""

    def start(self, total: int | None, done: int) -> None:
        """A run of `total` frames (None: unknown) begins; `done` of them were done before."""
        ...

    def advance(self) -> None:
        """One more frame is done."""
        ...

    def close(self) -> None: ...


class Silent:
    """Shows no bar."""

    def start(self, total: int | None, done: int) -> None:
        pass

    def advance(self) -> None:
        pass

    def close(self) -> None:
        pass


class Watched:
    """Another progress, of which somebody else is told, too."""

    def __init__(self, inner: Progress, on_frame: Callable[[], object]) -> None:
        self._inner, self._on_frame = inner, on_frame

    def start(self, total: int | None, done: int) -> None:
        self._inner.start(total, done)

    def advance(self) -> None:
        self._on_frame()
        self._inner.advance()

    def close(self) -> None:
        self._inner.close()


def new_bar(total: int | None, *, of: str, done: int = 0) -> tqdm[Any]:
    """A bar on standard error, which is a terminal; `of` names what is counted, in the plural."""
    from tqdm import tqdm

    # A terminal without a size (in a container, under a script) would otherwise get no bar.
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
    """A bar on standard error: frames (or what else is counted), how many a second, time left."""

    def __init__(self, of: str = "frames") -> None:
        self._of = of

    def start(self, total: int | None, done: int) -> None:
        self._bar = new_bar(total, of=self._of, done=done)

    def advance(self) -> None:
        self._bar.update()

    def close(self) -> None:
        if hasattr(self, "_bar"):
            self._bar.close()


def bar(*, quiet: bool, of: str = "frames") -> Progress:
    """A bar, unless nobody would see it; `of` names what is counted, in the plural."""
    return Silent() if quiet or not sys.stderr.isatty() else Bar(of)
