"""Reports the state of a run as metrics of Ray, which offers them to Prometheus on its metrics ports."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from vidseg.pipeline.batch.tally import Tally

EVERY_S = 1.0
"""Least seconds between two reports: jobs may end thousands of times a second, and Ray passes metrics on
every few seconds."""


class RayMetrics:
    """A `Display` that tells Ray what the progress bar tells people; Ray writes `ray_` before each name.

        vidseg_jobs{state}          jobs that are queued, running, done, failed
        vidseg_workers              workers that are up
        vidseg_frames_per_second    since the run began
        vidseg_frames_total         of jobs that ended in this run
        vidseg_seconds_total{stage} of those: waiting for frames, tracking, waiting for writers
        vidseg_retries_total        tries after the first

    Args:
        out: the run's folder, by which runs on one cluster are told apart (the tag `out`).
    """

    def __init__(self, out: str) -> None:
        self._tags = {"out": out}
        self._jobs = self._gauge("jobs", "Jobs by state", "state")
        self._workers = self._gauge("workers", "Workers that are up")
        self._speed = self._gauge("frames_per_second", "Frames tracked a second since the run began")
        self._frames = self._counter("frames", "Frames of the jobs that ended in this run")
        self._seconds = self._counter("seconds", "Where the time of the jobs that ended went", "stage")
        self._retries = self._counter("retries", "Tries after the first")
        self._counted: dict[tuple[Counter, str], float] = {}
        """Value of each counter, by its tag."""
        self._next_s = 0.0

    def show(self, tally: Tally) -> None:
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + EVERY_S
        for state, jobs in tally.by_state.items():
            self._jobs.set(jobs, {**self._tags, "state": state})
        self._workers.set(tally.workers, self._tags)
        self._speed.set(tally.frames_per_second, self._tags)
        self._count(self._frames, {"": tally.frames})
        self._count(self._seconds, tally.stage_seconds, "stage")
        self._count(self._retries, {"": tally.retries})

    def close(self) -> None:
        pass

    def _gauge(self, name: str, what: str, *tags: str) -> Gauge:
        return Gauge(f"vidseg_{name}", what, ("out", *tags))

    def _counter(self, name: str, what: str, *tags: str) -> Counter:
        return Counter(f"vidseg_{name}", what, ("out", *tags))

    def _count(self, counter: Counter, totals: Mapping[str, float], tag: str | None = None) -> None:
        """Raise a counter to the total in the tally; counters of Ray take increments."""
        for value, total in totals.items():
            new = total - self._counted.get((counter, value), 0)
            if new > 0:
                counter.inc(new, self._tags if tag is None else {**self._tags, tag: value})
                self._counted[counter, value] = total
