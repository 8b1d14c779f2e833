"""Processes that take turns: each measures one thing, so that its memory can be told apart, and other load on
the machine falls on all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from vidseg.errors import RunError, VidsegError
from vidseg.out_of_memory import explained
from vidseg.trackers.options import TrackerOptions

Result = TypeVar("Result", covariant=True)


class Subject(Protocol[Result]):
    """What is measured; it is made in a process of its own."""

    def run(self, count: int) -> None:
        """Do as many rounds, and measure them."""
        ...

    def measured(self) -> Result:
        """The measurements of all rounds; they can be pickled."""
        ...


def in_turns(
    make: Callable[[TrackerOptions], Subject[Result]], choices: Sequence[TrackerOptions], turns: Sequence[int]
) -> list[Result]:
    """Measure trackers in turns.

    Args:
        make: makes the subject of a tracker; it can be pickled.
        turns: the rounds of each turn.

    Raises:
        InputError: a tracker cannot be loaded.
        RunError: a tracker's process ended.
    """
    context = get_context("spawn")
    lines: list[Connection] = []
    processes = []
    try:
        for choice in choices:
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, make, choice), daemon=True)
            process.start()
            theirs.close()
            lines.append(mine)
            processes.append(process)
            _ask(mine, choice.tracker)  # wait until it is loaded: trackers load one at a time
        for turn in turns:
            for line, choice in zip(lines, choices, strict=True):
                line.send(turn)
                _ask(line, choice.tracker)
        measured = []
        for line, choice in zip(lines, choices, strict=True):
            line.send(0)
            measured.append(_ask(line, choice.tracker))
        return measured
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _ask(line: Connection, name: str) -> Any:
    try:
        answer = line.recv()
    except (EOFError, ConnectionError):
        raise RunError(f"the process of tracker '{name}' ended before it answered") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(line: Connection, make: Callable[[TrackerOptions], Subject[Any]], choice: TrackerOptions) -> None:
    """The process of a tracker: it loads, does the rounds it is told, and at 0 sends what it measured."""
    try:
        subject = make(choice)
        line.send(None)
        while count := line.recv():
            subject.run(count)
            line.send(None)
        line.send(subject.measured())
    except VidsegError as error:
        line.send(error)
    except Exception as error:
        failure = RunError(f"tracker '{choice.tracker}' failed ({type(error).__name__}: {error})")
        line.send(explained(error) or failure)
