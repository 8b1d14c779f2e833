"""Standard output and error of the command line, which must not fail a command that has done its work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

from vidseg.errors import RunError
from vidseg.pipeline.file_names import ESCAPED


class _Steady:
    """A stream that shows what it can.

    Letters that the terminal does not have are escaped. What is written after the reader has gone (`| head`)
    is dropped.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._is_open = True

    def write(self, text: str) -> int:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        shown = text.encode(encoding, ESCAPED).decode(encoding)
        with self._failures():
            if self._is_open:
                self._stream.write(shown)
        return len(text)

    def flush(self) -> None:
        with self._failures():
            if self._is_open:
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._close()
        except OSError as failure:
            self._close()
            raise RunError(f"{self._name} cannot be written ({failure.strerror})") from None

    def _close(self) -> None:
        """Write nowhere from now on; what Python itself still holds back, too."""
        self._is_open = False
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def steady_output() -> Iterator[None]:
    """Within it no terminal and no closed pipe fails a print; a full disk behind one does, as a RunError."""
    with ExitStack() as stack:
        # Python has None for a stream that was closed before it began.
        nowhere = stack.enter_context(open(os.devnull, "w"))
        out, error = sys.stdout or nowhere, sys.stderr or nowhere
        stack.enter_context(redirect_stdout(cast(TextIO, _Steady(out, "standard output"))))
        stack.enter_context(redirect_stderr(cast(TextIO, _Steady(error, "standard error"))))
        try:
            yield
        finally:
            with suppress(RunError):  # the command has ended, one way or another
                flush_output()


def flush_output() -> None:
    """Have what was printed written.

    Raises:
        RunError: within `steady_output`: the disk behind standard output is full.
    """
    sys.stdout.flush()
