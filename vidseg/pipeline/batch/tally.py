"""How a run of jobs stands, and who is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vidseg.pipeline.run_record import Stage


@dataclass
class Tally:
    """How a run stands."""

    jobs: int
    done: int = 0
    """Those that an earlier run had done, too."""
    done_before: int = 0
    failed: int = 0
    running: int = 0
    retries: int = 0
    frames: int = 0
    """Tracked in this run."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Where the time of these frames went: see `TrackSummary.seconds`."""
    seconds: float = 0.0
    """Since the run began."""
    workers: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Class of error -> jobs."""

    @property
    def ended(self) -> int:
        return self.done + self.failed

    @property
    def by_state(self) -> dict[str, int]:
        """Queued are jobs not yet begun, and those that wait for another try."""
        queued = self.jobs - self.ended - self.running
        return {"queued": queued, "running": self.running, "done": self.done, "failed": self.failed}

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0

    def count(self, frames: int, stage_seconds: Mapping[Stage, float]) -> None:
        """Add what a job tracked."""
        self.frames += frames
        for stage, seconds in stage_seconds.items():
            self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds


class Display(Protocol):
    """Is told how a run comes along."""

    def show(self, tally: Tally) -> None: ...

    def close(self) -> None: ...
