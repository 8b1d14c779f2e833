"""Hands jobs to a pool, decides about those that fail, and writes down the state of the run.

The driver holds the jobs in flight and those that wait for another try, never the whole list, so its memory
does not grow with the number of jobs. A job that ran out of memory waits until all others have ended, and is
then tried with no other one beside it. It may be killed at any time. Started again, it hands out every job
anew, and workers recognise finished ones by their done-marks.
"""

from __future__ import annotations

import heapq
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from types import FrameType
from typing import Any, Literal, Protocol

from vidseg.pipeline.batch import stores
from vidseg.pipeline.batch.job_lines import kept_going, open_report
from vidseg.pipeline.batch.jobs import REPORT, SUMMARY, Job
from vidseg.pipeline.batch.pool import Lost, Pool
from vidseg.pipeline.batch.stage import JobOutcome
from vidseg.pipeline.batch.tally import Display, Tally

MAX_KILLS = 2
"""A job that has ended this many workers is given up."""
MAX_NODE_LOSSES = 10
"""A job whose node was lost this many times is given up."""
MAX_FIRST_FAILED = 5
"""So many failed jobs are named in the summary."""
MAX_WAITING = 1000
"""While this many jobs wait for another try no new job is begun, as the store may be down."""
LONGEST_BACKOFF_S = 300.0
"""The pause before another try doubles with each try, up to this many seconds."""
BEAT_S = 5.0
"""A driver writes its summary again after this many seconds, by which one sees that it lives."""
WAIT_S = 1.0
"""The driver looks at what else is due at least this often, in seconds."""


@dataclass
class Ticket:
    """A job in progress."""

    offset: int
    """Place of the job in the file of jobs, in bytes."""
    job_id: str
    tries: int = 0
    kills: int = 0
    node_losses: int = 0
    is_alone: bool = False
    """Whether no other job is beside it on its GPU or machine."""


class Jobs(Protocol):
    """Jobs in order, as often as they are asked for; see `JobsFile`."""

    def __iter__(self) -> Iterator[tuple[int, Job]]:
        """Each job with its place, which `at` takes."""
        ...

    def at(self, offset: int, /) -> Job: ...


class Driver:
    """Runs jobs to their end.

    Args:
        retries: number of tries after the first one, for failures that may pass.
        backoff_s: seconds before the second try; they double with each further one, up to five minutes.
        on_outcome: called for every job that has ended.
    """

    def __init__(
        self,
        jobs: Jobs,
        num_jobs: int,
        out: str,
        pool: Pool[Ticket],
        *,
        retries: int = 3,
        backoff_s: float = 2.0,
        displays: Sequence[Display] = (),
        on_outcome: Callable[[JobOutcome], object] = lambda outcome: None,
    ) -> None:
        self.jobs = jobs
        self.out = out
        self.pool = pool
        self.retries = retries
        self.backoff_s = backoff_s
        self.displays = displays
        self.on_outcome = on_outcome
        self.tally = Tally(jobs=num_jobs)
        self.summary: dict[str, Any] = {}
        """What summary.json says, or would say if it could be written."""
        self._first_failed: list[dict[str, str | None]] = []
        """The first jobs that failed, for the summary; report.jsonl has all of them."""
        self._is_stopping = False
        self._waiting: list[tuple[float, int, Ticket]] = []
        """(time of the next try, a number that settles ties, the job)"""
        self._crowded_out: list[Ticket] = []
        """Jobs that ran out of memory, to be tried alone when all others have ended."""
        self._ties = count()

    def run(self) -> Literal["done", "interrupted"]:
        """Do all jobs; return when each is done or failed or, after a stop, when those in hand have been
        saved."""
        self._began = time.monotonic()
        self._started_at = _now()
        self._report = open_report(self.out)
        beat = _Beat(self._write_summary)
        status: Literal["done", "interrupted"] = "interrupted"
        try:
            self._run(iter(self.jobs))
            status = "interrupted" if self._is_stopping else "done"
        finally:
            beat.stop()
            with kept_going(REPORT):
                self._report.close()
            with kept_going(SUMMARY):
                self._write_summary(status)
            for display in self.displays:
                display.close()
        return status

    def request_stop(self) -> None:
        """Begin no more jobs, and have those in hand saved. May be called from a signal handler."""
        self._is_stopping = True

    def _run(self, jobs: Iterator[tuple[int, Job]]) -> None:
        told_to_stop = False
        is_all_begun = False
        while True:
            if self._is_stopping and not told_to_stop:
                self.pool.request_stop()
                told_to_stop = True
            while not self._is_stopping and self.pool.has_room():
                now = time.monotonic()
                if self._waiting and self._waiting[0][0] <= now:
                    ticket = heapq.heappop(self._waiting)[2]
                    job = self.jobs.at(ticket.offset)
                elif not is_all_begun and len(self._waiting) < MAX_WAITING:
                    begun = next(jobs, None)
                    if begun is None:
                        is_all_begun = True
                        continue
                    offset, job = begun
                    ticket = Ticket(offset, job.id)
                else:
                    break
                self.pool.submit(ticket, job)
                self.tally.running += 1
            if self.tally.running == 0 and (self._is_stopping or (is_all_begun and not self._waiting)):
                if self._is_stopping or not self._crowded_out:
                    return
                self._begin_alone()
            if self.tally.running == 0 and self.pool.has_room():
                time.sleep(max(0.0, min(WAIT_S, self._waiting[0][0] - time.monotonic())))
                continue
            for ticket, result in self.pool.wait(WAIT_S):
                self.tally.running -= 1
                self._take(ticket, result)
            self._show()

    def _begin_alone(self) -> None:
        self.pool.make_room()
        for ticket in self._crowded_out:
            ticket.is_alone = True
            heapq.heappush(self._waiting, (time.monotonic(), next(self._ties), ticket))
        self._crowded_out.clear()

    def _show(self) -> None:
        self.tally.workers = self.pool.num_workers
        self.tally.seconds = time.monotonic() - self._began
        for display in self.displays:
            display.show(self.tally)

    def _take(self, ticket: Ticket, result: JobOutcome | Lost) -> None:
        ticket.tries += 1
        if isinstance(result, Lost):
            self._take_loss(ticket, result)
        elif result.status == "done":
            self.tally.done += 1
            self.tally.done_before += result.was_done_before
            if not result.was_done_before:
                self.tally.count(result.frames, result.stage_seconds)
            self._tell(ticket, result)
        elif result.status == "failed":
            if result.ran_out_of_memory and self.retries:
                if ticket.is_alone:
                    self._fail(ticket, result)
                else:
                    self._leave_for_last(ticket)
            elif result.may_pass and ticket.tries - ticket.node_losses - ticket.kills <= self.retries:
                self._try_again(ticket)
            else:
                self._fail(ticket, result)
        elif not self._is_stopping:  # somebody interrupted a worker
            self._take_loss(ticket, Lost(reason="its worker was interrupted", is_by_node=True))

    def _take_loss(self, ticket: Ticket, loss: Lost) -> None:
        if loss.is_by_node:
            ticket.node_losses += 1
        else:
            ticket.kills += 1
        if loss.ran_out_of_memory and self.retries and not ticket.is_alone:
            self._leave_for_last(ticket)
        elif ticket.kills >= MAX_KILLS or ticket.node_losses >= MAX_NODE_LOSSES:
            what = "workers" if ticket.kills >= MAX_KILLS else "machines"
            times = max(ticket.kills, ticket.node_losses)
            reason = f"it was set aside: {times} {what} ended while they were at it; the last: {loss.reason}"
            self._fail(
                ticket,
                JobOutcome(
                    id=ticket.job_id,
                    status="failed",
                    kind="PoisonousJob" if ticket.kills >= MAX_KILLS else "NodeLost",
                    reason=reason,
                    hint=loss.hint,
                ),
            )
        else:
            self._try_again(ticket)

    def _leave_for_last(self, ticket: Ticket) -> None:
        self.tally.retries += 1
        self._crowded_out.append(ticket)

    def _try_again(self, ticket: Ticket) -> None:
        self.tally.retries += 1
        wait_s = min(LONGEST_BACKOFF_S, self.backoff_s * 2 ** min(ticket.tries - 1, 10))
        heapq.heappush(self._waiting, (time.monotonic() + wait_s, next(self._ties), ticket))

    def _fail(self, ticket: Ticket, outcome: JobOutcome) -> None:
        self.tally.failed += 1
        self.tally.count(outcome.frames, outcome.stage_seconds)
        self.tally.failures[outcome.kind or "Error"] += 1
        if len(self._first_failed) < MAX_FIRST_FAILED:
            self._first_failed.append({"id": outcome.id, "reason": outcome.reason})
        self._tell(ticket, outcome)

    def _tell(self, ticket: Ticket, outcome: JobOutcome) -> None:
        with kept_going(REPORT):
            self._report.write(outcome, ticket.tries)
        self.on_outcome(outcome)

    def _write_summary(self, status: str = "running") -> None:
        tally = self.tally
        tally.seconds = time.monotonic() - self._began
        self.summary = {
            "status": status,
            "jobs": tally.jobs,
            "done": tally.done,
            "done_before": tally.done_before,
            "failed": tally.failed,
            "running": tally.running if status == "running" else 0,
            "left": tally.jobs - tally.ended,
            "retries": tally.retries,
            "failures": dict(tally.failures),
            "first_failed": list(self._first_failed),
            "frames": tally.frames,
            "frames_per_second": round(tally.frames_per_second, 3),
            "seconds": round(tally.seconds, 3),
            "workers": tally.workers,
            "started_at": self._started_at,
            "updated_at": _now(),
        }
        text = json.dumps(self.summary, indent=2) + "\n"
        stores.write_whole(stores.join(self.out, SUMMARY), text.encode())


@contextmanager
def stop_on_signals(driver: Driver, pool_here: Pool[Any] | None = None) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM save the jobs in hand; a second one does not wait for that.

    Outside a program's main thread, signals are not touched.

    Args:
        pool_here: a pool that works in this process, and so must be told to stop here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        driver.request_stop()
        if pool_here is not None:
            pool_here.request_stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Beat:
    """Calls a function every few seconds until it is stopped, as a sign that the run is alive."""

    def __init__(self, call: Any) -> None:
        call()
        self._call = call
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vidseg-batch-beat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_S):
            try:
                self._call()
            except Exception:  # the store is out of reach; try again at the next beat
                continue


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
