"""What does the jobs: the contract between the driver and a pool, and the pool that needs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from vidseg.pipeline.batch.jobs import Job
from vidseg.pipeline.batch.stage import Outcome

T = TypeVar("T")


class JobStage(Protocol):
    """What a pool runs; see `Stage`."""

    def setup(self, job: Job) -> None: ...

    def process(self, job: Job) -> Outcome: ...

    def request_stop(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker ended with a job in its hands."""

    reason: str
    is_by_node: bool
    """The whole machine went, or is out of reach: nothing the job can be blamed for."""


class Pool(Protocol[T]):
    """Does jobs, each under a ticket that comes back with its result; one at a time for each worker."""

    @property
    def num_workers(self) -> int:
        """Workers that are up."""
        ...

    def has_room(self) -> bool:
        """Whether a worker is free."""
        ...

    def submit(self, ticket: T, job: Job) -> None: ...

    def wait(self, timeout_s: float) -> list[tuple[T, Outcome | Lost]]:
        """What has ended; empty when nothing does within the time."""
        ...

    def request_stop(self) -> None:
        """Have the jobs in hand saved and left."""
        ...

    def close(self) -> None: ...


class InProcessPool(Generic[T]):
    """One worker: this process. A job that kills it kills the driver."""

    num_workers = 1

    def __init__(self, stage: JobStage, first_job: Job) -> None:
        self._stage = stage
        self._next: tuple[T, Job] | None = None
        stage.setup(first_job)

    def has_room(self) -> bool:
        return self._next is None

    def submit(self, ticket: T, job: Job) -> None:
        self._next = (ticket, job)

    def wait(self, timeout_s: float) -> list[tuple[T, Outcome | Lost]]:
        if self._next is None:
            return []
        ticket, job = self._next
        self._next = None
        return [(ticket, self._stage.process(job))]

    def request_stop(self) -> None:
        self._stage.request_stop()

    def close(self) -> None:
        self._stage.close()
