"""Jobs on the fake tracker, and jobs that go wrong in the ways that only real workers know.

As a program it is the command line with that stage: `python -m support.fake_batch batch ...`
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from support.fake_tracker import build, fake_yaml
from support.hard_videos import numbered
from vidseg.pipeline.batch import stage as stage_module
from vidseg.pipeline.batch.jobs import Job
from vidseg.pipeline.batch.stage import Outcome, Stage
from vidseg.trackers.registry import TRACKER_KINDS

BOX = {"box": [20, 20, 40, 40]}


class FakeStage(Stage):
    """A stage that knows the tracker kind `fake`, and that ids starting with 'kills' are to kill it."""

    def setup(self, job: Job) -> None:
        if "fake" not in TRACKER_KINDS:
            TRACKER_KINDS.register("fake", build)
        super().setup(job)

    def process(self, job: Job) -> Outcome:
        if job.id.startswith("kills"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().process(job)


class NoOpStage:
    """Does nothing, at once: what is left is the cost of handing jobs out."""

    def __init__(self, seconds_a_job: float = 0.0) -> None:
        self.seconds_a_job = seconds_a_job

    def setup(self, job: Job) -> None:
        pass

    def process(self, job: Job) -> Outcome:
        time.sleep(self.seconds_a_job)
        return Outcome(id=job.id, status="done", frames=1)

    def request_stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def make_jobs(folder: Path, lengths: dict[str, int], **config: Any) -> Path:
    """jobs.jsonl in a folder, with a video of so many frames for each id and the fake tracker for all."""
    folder.mkdir(parents=True, exist_ok=True)
    tracker = fake_yaml(folder, **config)
    lines = []
    for job_id, num_frames in lengths.items():
        numbered(folder / f"{job_id}.mp4", num_frames, (48, 64), options={"g": "5"})
        options = {"formats": ["png", "rle"], "save_every": 3}
        job = {"id": job_id, "video": f"{job_id}.mp4", "prompt": BOX, "tracker": tracker.name}
        lines.append(json.dumps({**job, "options": options}))
    (folder / "jobs.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "jobs.jsonl"


def add_job(jobs: Path, **job: Any) -> None:
    """One more line: by default like the others."""
    first = json.loads(jobs.read_text().splitlines()[0])
    with open(jobs, "a") as file:
        file.write(json.dumps({**first, **job}) + "\n")


def masks_of(out: Path) -> dict[str, bytes]:
    """Every byte of the masks below a folder."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.suffix == ".png" or path.name == "masklets.jsonl"
    }


def report_of(out: Path) -> dict[str, dict[str, Any]]:
    """report.jsonl by job id."""
    lines = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    assert len({line["id"] for line in lines}) == len(lines), "a job was reported twice"
    return {line["id"]: line for line in lines}


def left_over(out: Path) -> list[str]:
    """What a finished run should not leave."""
    return [
        str(path.relative_to(out))
        for path in out.rglob("*")
        if path.name.startswith(".") or ".part" in path.name or path.name == "lock"
    ]


if __name__ == "__main__":
    from support import fake_batch  # by its name, by which workers find it; here it is __main__
    from vidseg.pipeline.cli import main

    stage_module.Stage = fake_batch.FakeStage  # type: ignore[misc]
    sys.exit(main())
