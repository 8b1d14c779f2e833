"""What handing out jobs costs: the driver's time and memory a job, with a stage that does nothing.

    python benchmarks/batch_overhead.py --jobs 10000              # in this process
    python benchmarks/batch_overhead.py --jobs 10000 --workers 2  # on Ray
    python benchmarks/batch_overhead.py --jobs 10000 --workers 2 --crowd 800

`cpu_ms_a_job` is the driver process's own CPU time, `wall_ms_a_job` the run's time divided by its jobs.
`bytes_a_job` is how much higher the driver's peak of Python memory is than for a tenth of the jobs, a job
(measured in this process with --workers 0, because tracing slows everything down). With --crowd, each worker
takes the jobs of many: the driver waits for as many jobs at a time as on a cluster of that size.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from vidseg.pipeline.batch.driver import Driver, Ticket
from vidseg.pipeline.batch.jobs import Job, JobsFile
from vidseg.pipeline.batch.pool import InProcessPool, Pool
from vidseg.pipeline.batch.stage import JobOutcome


class NoOpStage:
    """A stage whose jobs are done at once."""

    def setup(self, job: Job) -> None:
        pass

    def process(self, job: Job) -> JobOutcome:
        return JobOutcome(id=job.id, status="done")

    def progress(self) -> int:
        return 0

    def request_stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def write_jobs(path: Path, count: int) -> JobsFile:
    with open(path, "w") as file:
        for number in range(count):
            job = {
                "id": f"clip-{number:07d}",
                "video": f"clips/{number:07d}.mp4",
                "prompt": f"{number:07d}.json",
            }
            file.write(json.dumps(job) + "\n")
    return JobsFile(path)


def run(folder: Path, count: int, workers: int, crowd: int = 0) -> dict[str, float]:
    """Seconds of a run of so many jobs.

    Args:
        crowd: how many jobs are in flight; 0 for one a worker.
    """
    folder.mkdir()
    jobs = write_jobs(folder / "jobs.jsonl", count)
    began = time.perf_counter()
    num_jobs = jobs.check()
    check_s = time.perf_counter() - began
    first_job = next(iter(jobs))[1]
    pool: Pool[Ticket]
    if workers == 0:
        pool = InProcessPool(NoOpStage(), first_job)
    else:
        from vidseg.pipeline.batch.ray_pool import RayPool

        ray_pool: RayPool[Ticket] = RayPool(NoOpStage(), first_job, workers=workers)
        while ray_pool.num_workers < workers:
            ray_pool.wait(1.0)
        if crowd:
            ray_pool._free *= crowd // workers
        pool = ray_pool
    try:
        cpu_s, began = time.process_time(), time.perf_counter()
        Driver(jobs, num_jobs, str(folder / "out"), pool).run()
        return {
            "check_s": check_s,
            "cpu_s": time.process_time() - cpu_s,
            "wall_s": time.perf_counter() - began,
        }
    finally:
        pool.close()


def peak_bytes(folder: Path, count: int) -> int:
    tracemalloc.start()
    try:
        run(folder, count, workers=0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--crowd", type=int, default=0, help="jobs in flight (default: one a worker)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        timed = run(Path(folder) / "timed", args.jobs, args.workers, args.crowd)
        facts: dict[str, Any] = {
            "jobs": args.jobs,
            "workers": args.workers,
            "in_flight": args.crowd or max(1, args.workers),
            "check_ms_a_job": round(1000 * timed["check_s"] / args.jobs, 3),
            "cpu_ms_a_job": round(1000 * timed["cpu_s"] / args.jobs, 3),
            "wall_ms_a_job": round(1000 * timed["wall_s"] / args.jobs, 3),
        }
        if args.workers == 0:
            few, many = args.jobs // 10, args.jobs
            peak_bytes(Path(folder) / "warm", few)
            low, high = peak_bytes(Path(folder) / "few", few), peak_bytes(Path(folder) / "many", many)
            facts["bytes_a_job"] = round((high - low) / (many - few), 1)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
