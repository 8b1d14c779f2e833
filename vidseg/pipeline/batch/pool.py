"""The contract between the driver and a pool that does jobs, and a pool in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from vidseg.pipeline.batch.jobs import Job
from vidseg.pipeline.batch.stage import JobOutcome

T = TypeVar("T")


class JobStage(Protocol):
    """Does the jobs that a pool is given; see `TrackingStage`."""

    def setup(self, job: Job) -> None: ...

    def process(self, job: Job) -> JobOutcome: ...

    def progress(self) -> int:
        """A number that changes as the job in hand gets further; called from another thread."""
        ...

    def request_stop(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The worker that had a job has ended."""

    reason: str
    is_by_node: bool
    """Whether the whole machine failed or is out of reach, which is not the fault of the job."""
    ran_out_of_memory: bool = False
    """Whether the worker was ended because its machine had no memory left."""
    hint: str = "try it alone, with --workers 0; it may need more memory than a worker has"
    """What helps a job that has ended several workers so."""


class Pool(Protocol[T]):
    """Does jobs, one at a time in each worker. Each comes with a ticket, returned with its result."""

    @property
    def num_workers(self) -> int:
        """How many workers are running."""
        ...

    def has_room(self) -> bool:
        """Whether a worker is free."""
        ...

    def submit(self, ticket: T, job: Job) -> None: ...

    def wait(self, timeout_s: float) -> list[tuple[T, JobOutcome | Lost]]:
        """The results of jobs that have ended; empty if none ends within the time."""
        ...

    def make_room(self) -> None:
        """From now on no job has another one beside it on its GPU or, without GPUs, on its machine.

        Called while no job is in hand.
        """
        ...

    def request_stop(self) -> None:
        """Have the jobs in hand saved, and end them."""
        ...

    def close(self) -> None: ...


class InProcessPool(Generic[T]):
    """A pool with one worker, this process. A job that kills it kills the driver."""

    num_workers = 1

    def __init__(self, stage: JobStage, first_job: Job) -> None:
        self._stage = stage
        self._next: tuple[T, Job] | None = None
        stage.setup(first_job)

    def has_room(self) -> bool:
        return self._next is None

    def submit(self, ticket: T, job: Job) -> None:
        self._next = (ticket, job)

    def wait(self, timeout_s: float) -> list[tuple[T, JobOutcome | Lost]]:
        if self._next is None:
            return []
        ticket, job = self._next
        self._next = None
        return [(ticket, self._stage.process(job))]

    def make_room(self) -> None:
        """Nothing is beside a job of the only worker."""

    def request_stop(self) -> None:
        self._stage.request_stop()

    def close(self) -> None:
        self._stage.close()
