"""Every error that vidseg raises on purpose.

    VidsegError
    ├── InputError            the call or its input is wrong             exit code 2
    │   ├── SourceError       a video, folder or stream cannot be read
    │   ├── PromptError       a prompt file or a prompt call is wrong
    │   ├── ConfigError       a tracker's YAML or an option is wrong
    │   ├── CheckpointError   weights are missing or do not fit
    │   ├── OutputError       the output folder cannot be used
    │   │   └── OutputBusyError   another run is writing there just now
    │   └── MissingExtraError an optional dependency is not installed
    └── RunError              something failed while running             exit code 1
        ├── DecodeError       a source broke in the middle; what came before it is good
        ├── OutOfMemoryError  the memory of a device or of the machine ran out
        └── ContractError     a tracker does not do what every tracker promises

An error says three things: what is wrong, where, and how to mend it; each on a line of its own.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import ClassVar


class VidsegError(Exception):
    """What is wrong, where, and how to mend it.

    Args:
        message: what is wrong, in one line.
        where: file, line, field, object or frame; added once, at the public edge.
        hint: how to mend it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [one_line(self.message)]
        if self.where:
            lines.append(f"  at: {one_line(self.where)}")
        if self.hint:
            lines.append(f"  fix: {one_line(self.hint)}")
        return "\n".join(lines)

    def at(self, where: str) -> VidsegError:
        """The same error with `where` put before the place it has, so that places run from file to field."""
        self.where = where if self.where is None else f"{where}, {self.where}"
        return self

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; the default reduction drops keyword arguments.
        return (_rebuild, (type(self), self.message, self.__dict__.copy()))


def _rebuild(cls: type[VidsegError], message: str, state: dict[str, object]) -> VidsegError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class InputError(VidsegError):
    """The call or its input is wrong; exit code 2."""

    exit_code = 2


class SourceError(InputError):
    """A video, folder or stream cannot be read."""

    pass


class PromptError(InputError):
    """A prompt file or the call of a prompt method is wrong."""

    pass


class ConfigError(InputError):
    """A tracker's YAML or an option is wrong."""

    pass


class CheckpointError(InputError):
    """Weights are missing or do not fit."""

    pass


class OutputError(InputError):
    """The output folder cannot be used."""

    pass


class OutputBusyError(OutputError):
    """Another run is writing to the output folder; it may be free later."""


class MissingExtraError(InputError):
    """An optional dependency is not installed, or it is and cannot be imported.

    Which of the two tells the ImportError that is being handled where this is raised.

    Args:
        package: its name, or several with 'and' between them.
        instead: how to do without it.
    """

    def __init__(self, package: str, extra: str, *, needed_for: str, instead: str | None = None) -> None:
        failure, state = sys.exc_info()[1], "is not installed"
        if isinstance(failure, ImportError) and (failure.name or "").split(".")[0] not in package.split():
            state = f"cannot be imported ({told(failure)})"
        super().__init__(
            f"{needed_for} needs the package '{package}', which {state}",
            hint=f"pip install 'vidseg[{extra}]'" + (f"; or {instead}" if instead else ""),
        )


class RunError(VidsegError):
    """Something failed while running; exit code 1."""

    exit_code = 1


class DecodeError(RunError):
    """A source broke in the middle.

    Args:
        frames_read: how many frames were decoded, and are good, before it broke.
    """

    def __init__(
        self, message: str, *, frames_read: int, where: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.frames_read = frames_read


class OutOfMemoryError(RunError):
    """The memory of a device or of the machine ran out; see `vidseg.out_of_memory.explained`."""


def one_line(text: str, limit: int = 500) -> str:
    """Text from outside as one line of printable characters, shortened to `limit`."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return line if len(line) <= limit else f"{line[:limit]}..."


def told(failure: Exception) -> str:
    """The message of an error of the system or a library, in a few words to put between brackets."""
    reason = getattr(failure, "strerror", None) or " ".join(str(failure).split())
    return one_line(f"{reason}" if reason else type(failure).__name__, 200)


class ContractError(RunError):
    """A tracker does not do what every tracker promises (see `vidseg.check_tracker`)."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """A line that says that a name is not in a registry, and offers the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    guess = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}'{guess} (known: {', '.join(names)})"
