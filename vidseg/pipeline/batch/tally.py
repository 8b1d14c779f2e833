"""The state of a run of jobs as counts, and the contract of its displays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vidseg.pipeline.run_record import RunStage


@dataclass
class Tally:
    """Counts of a run of jobs."""

    jobs: int
    done: int = 0
    """Jobs that are done, including those that an earlier run did."""
    done_before: int = 0
    failed: int = 0
    running: int = 0
    retries: int = 0
    frames: int = 0
    """Frames tracked in this run."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds that these frames took, by kind of work; see `TrackSummary.seconds`."""
    seconds: float = 0.0
    """Seconds since the run began."""
    workers: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Name of a class of errors -> how many jobs failed by it."""

    @property
    def ended(self) -> int:
        return self.done + self.failed

    @property
    def by_state(self) -> dict[str, int]:
        """Number of jobs by state. Queued are those not yet begun, and those that wait for another try."""
        queued = self.jobs - self.ended - self.running
        return {"queued": queued, "running": self.running, "done": self.done, "failed": self.failed}

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0

    def count(self, frames: int, stage_seconds: Mapping[RunStage, float]) -> None:
        """Add the frames of a job."""
        self.frames += frames
        for stage, seconds in stage_seconds.items():
            self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds


class Display(Protocol):
    """Shows the progress of a run."""

    def show(self, tally: Tally) -> None: ...

    def close(self) -> None: ...
