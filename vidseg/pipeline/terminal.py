"""Keeps standard output and error from failing a command that has done its work."""

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

    Characters that the terminal does not have are escaped. Output after the reader has gone (`| head`) is
    dropped.
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
        """Write nowhere from now on; this also drops what Python still buffers."""
        self._is_open = False
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def steady_output() -> Iterator[None]:
    """A context in which neither a terminal nor a closed pipe fails a print.

    A full disk does, with a RunError.
    """
    with ExitStack() as stack:
        # Python has None for a stream that was closed before the program started.
        nowhere = stack.enter_context(open(os.devnull, "w"))
        out, error = sys.stdout or nowhere, sys.stderr or nowhere
        stack.enter_context(redirect_stdout(cast(TextIO, _Steady(out, "standard output"))))
        stack.enter_context(redirect_stderr(cast(TextIO, _Steady(error, "standard error"))))
        try:
            yield
        finally:
            with suppress(RunError):  # the command has already ended
                flush_output()


def flush_output() -> None:
    """Write out what was printed.

    Raises:
        RunError: inside `steady_output`, if the disk behind standard output is full.
    """
    sys.stdout.flush()
