"""Processes that take turns: each measures one thing, so that its memory can be told apart, and other load on
the machine falls on all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from vidseg.errors import RunError, VidsegError
from vidseg.out_of_memory import explained
from vidseg.trackers.options import TrackerOptions

Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True)
class Failure:
    """A tracker that could not be measured, and why."""

    tracker: str
    error: VidsegError


class Subject(Protocol[Result]):
    """What is measured; it is made in a process of its own."""

    def run(self, count: int) -> None:
        """Do as many rounds, and measure them."""
        ...

    def measured(self) -> Result:
        """The measurements of all rounds; they can be pickled."""
        ...


def in_turns(
    make: Callable[[TrackerOptions], Subject[Result]],
    choices: Sequence[TrackerOptions],
    turns: Sequence[int],
    on_failure: Callable[[Failure], object] | None = None,
) -> list[Result]:
    """Measure trackers in turns.

    Args:
        make: makes the subject of a tracker; it can be pickled.
        turns: the rounds of each turn.
        on_failure: is told of each tracker that fails, and the others go on; None: the first failure ends
            all. Where every tracker fails, the last failure is raised.

    Returns:
        The measurements of the trackers that did not fail, in order.

    Raises:
        InputError: a tracker cannot be loaded.
        RunError: a tracker's process ended.
    """
    context = get_context("spawn")
    processes: dict[int, tuple[BaseProcess, Connection]] = {}
    answers: dict[int, Any] = {}
    num_failed = 0

    def ask(place: int, count: int | None) -> None:
        nonlocal num_failed
        name = choices[place].tracker
        try:
            answers[place] = _ask(processes[place][1], name, count)
        except VidsegError as error:
            num_failed += 1
            if on_failure is None or num_failed == len(choices):
                raise
            on_failure(Failure(name, error))
            _end(processes.pop(place)[0])  # the others get its memory

    try:
        for place, choice in enumerate(choices):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, make, choice), daemon=True)
            process.start()
            theirs.close()
            processes[place] = process, mine
            ask(place, None)  # wait until it is loaded: trackers load one at a time
        for count in (*turns, 0):
            for place in list(processes):
                ask(place, count)
        return [answers[place] for place in processes]
    finally:
        for left, _ in processes.values():
            _end(left)


def _end(process: BaseProcess) -> None:
    process.terminate()
    process.join()


def _ask(line: Connection, name: str, count: int | None) -> Any:
    """The answer of a tracker's process to a number of rounds; None: to its start."""
    try:
        if count is not None:
            line.send(count)
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
