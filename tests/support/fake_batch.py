"""Jobs on the fake tracker, and what a run leaves."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.hard_videos import numbered
from support.trackers import fake_yaml
from vidseg.errors import CheckpointError
from vidseg.pipeline.batch.jobs import Job
from vidseg.pipeline.batch.stage import JobOutcome, TrackingStage

BOX = {"box": [20, 20, 40, 40]}


class NoOpStage:
    """Does nothing, at once: what is left is the cost of handing jobs out."""

    def __init__(self, seconds_a_job: float = 0.0) -> None:
        self.seconds_a_job = seconds_a_job

    def setup(self, job: Job) -> None:
        pass

    def process(self, job: Job) -> JobOutcome:
        time.sleep(self.seconds_a_job)
        return JobOutcome(id=job.id, status="done", frames=1)

    def progress(self) -> int:
        return 0

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


def undisturbed_masks(jobs: Iterable[Job], out: Path) -> dict[str, bytes]:
    """The masks of jobs that nothing disturbs, as `masks_of` gives them; they are tracked into `out`."""
    stage = TrackingStage(str(out))
    for job in jobs:
        assert stage.process(job).status == "done"
    return masks_of(out)


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


class CrowdedStage(NoOpStage):
    """A job runs out of memory where another worker is on the same node of a Ray cluster.

    Args:
        folder: gets a file for each worker.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(seconds_a_job=0.2)
        self.folder = folder

    def setup(self, job: Job) -> None:
        import ray

        self.node = str(ray.get_runtime_context().get_node_id())
        (self.folder / f"{self.node}-{os.getpid()}").touch()

    def process(self, job: Job) -> JobOutcome:
        outcome = super().process(job)
        pids = [int(path.name.rpartition("-")[2]) for path in self.folder.glob(f"{self.node}-*")]
        if any(pid != os.getpid() and _is_alive(pid) for pid in pids):
            failed = JobOutcome(id=job.id, status="failed", kind="OutOfMemoryError", may_pass=True)
            return replace(failed, ran_out_of_memory=True)
        return outcome


class LackingStage(NoOpStage):
    """Cannot start on one machine of a Ray cluster: on that which tries first.

    Args:
        folder: gets a file that names the machine.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(seconds_a_job=0.1)
        self.folder = folder

    def setup(self, job: Job) -> None:
        import ray

        node = str(ray.get_runtime_context().get_node_id())
        own = self.folder / str(os.getpid())
        own.write_text(node)
        with contextlib.suppress(FileExistsError):
            os.link(own, self.folder / "lacking")
        if (self.folder / "lacking").read_text() == node:
            raise CheckpointError("this machine has no weights")


class HangingStage(NoOpStage):
    """Some jobs hang, and do not even let go of the interpreter: 'once' in its first try, 'always' in each.
    The job 'slow' takes its time, but gets further.

    Args:
        folder: gets a file when 'once' hangs.
        slow_s: the seconds of 'slow'.
    """

    def __init__(self, folder: Path, slow_s: float) -> None:
        super().__init__()
        self.folder = folder
        self.slow_s = slow_s
        self.steps = 0

    def process(self, job: Job) -> JobOutcome:
        hung_before = self.folder / "hung"
        if job.id == "always" or (job.id == "once" and not hung_before.exists()):
            if job.id == "once":
                hung_before.touch()
            ctypes.PyDLL(None).sleep(1000)
        if job.id == "slow":
            for _ in range(100):
                time.sleep(self.slow_s / 100)
                self.steps += 1
        return super().process(job)

    def progress(self) -> int:
        return self.steps


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").is_dir()
