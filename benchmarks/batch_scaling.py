"""How much sooner two workers of one CPU each are done than one: whole jobs on Ray, in turns.

    python benchmarks/batch_scaling.py                                            # the weight-free tracker
    python benchmarks/batch_scaling.py --tracker efficienttam-ti-512 --clips 6 --frames 10 --format rle

The clips are made here. In each turn all of them are tracked anew, through the driver, from the jobs file to
the last done-mark; the workers are up, with their trackers loaded, before the clock starts. `share` is the
time of two workers divided by that of one before it: 0.5 is the most that two idle cores can give. `busy` is
how many cores a turn kept busy. A worker computes with one thread, but decodes and writes beside it, so that
one alone on two cores takes more than the one that it declares; with --one-core each is held to it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidseg.pipeline.batch.driver import Driver, Ticket
from vidseg.pipeline.batch.jobs import Job, JobsFile
from vidseg.pipeline.batch.ray_pool import Needs, RayPool
from vidseg.pipeline.batch.stage import JobOutcome, TrackingStage
from vidseg.pipeline.made_video import FRAME_RATE, MadeVideo
from vidseg.pipeline.writers.h264 import H264Video


class CpuTimedStage(TrackingStage):
    """A stage whose outcomes report the CPU seconds of all threads as `seconds`."""

    one_core = False
    """Whether each worker takes a core of its own, and no more."""

    def setup(self, job: Job) -> None:
        if self.one_core:
            core = self._take_core()
            for thread in Path("/proc/self/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})
        super().setup(job)

    def _take_core(self) -> int:
        Path(self.out).mkdir(exist_ok=True)
        for core in sorted(os.sched_getaffinity(0)):
            try:
                Path(self.out, f"core-{core}").touch(exist_ok=False)
                return core
            except FileExistsError:
                continue
        raise RuntimeError("more workers than cores")

    def process(self, job: Job) -> JobOutcome:
        began = time.process_time()
        outcome = super().process(job)
        return replace(outcome, seconds=time.process_time() - began)


@dataclass(frozen=True)
class Turn:
    wall_s: float
    cpu_s: float

    @property
    def busy(self) -> float:
        return self.cpu_s / self.wall_s


def write_jobs(
    folder: Path, clips: int, frames: int, size_hw: tuple[int, int], defaults: dict[str, Any]
) -> JobsFile:
    lines = []
    for number in range(clips):
        video = MadeVideo(num_frames=frames, size_hw=size_hw, seed=number + 1)
        path = folder / f"clip-{number:02d}.mp4"
        file = H264Video(path, rate=Fraction(FRAME_RATE))
        for frame, _ in video:
            assert frame.image is not None
            file.write(frame.image, frame.pts_seconds)
        file.finish()
        lines.append(json.dumps({"id": path.stem, "video": path.name, "prompt": video.prompts()}))
    (folder / "jobs.jsonl").write_text("\n".join(lines) + "\n")
    return JobsFile(folder / "jobs.jsonl", defaults)


def run(jobs: JobsFile, out: Path, workers: int, *, one_core: bool) -> Turn:
    num_jobs = jobs.check()
    cpu_s = 0.0

    def add(outcome: JobOutcome) -> None:
        nonlocal cpu_s
        assert outcome.status == "done", outcome
        cpu_s += outcome.seconds

    stage = CpuTimedStage(str(out), threads=1)
    stage.one_core = one_core
    pool: RayPool[Ticket] = RayPool(stage, next(iter(jobs))[1], workers=workers, needs=Needs(cpus=1, gpus=0))
    try:
        while pool.num_workers < workers:
            pool.wait(1.0)
        began = time.perf_counter()
        Driver(jobs, num_jobs, str(out), pool, on_outcome=add).run()
        return Turn(time.perf_counter() - began, cpu_s)
    finally:
        pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracker", default="flow")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--size", default="640x360", metavar="WxH")
    parser.add_argument("--format", default="png,rle,overlay", metavar="LIST")
    parser.add_argument("--one-core", action="store_true", help="hold each worker to one core")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    options = {
        "tracker": args.tracker,
        "formats": args.format.split(","),
        "device": "cpu",
        "allow_random_weights": True,
    }
    # Workers import this module by its name.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    shares = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = write_jobs(
            folder,
            args.clips,
            args.frames,
            (height, width),
            options,
        )
        for number in range(args.rounds):
            one, two = (
                run(jobs, folder / f"out-{number}-{workers}", workers, one_core=args.one_core)
                for workers in (1, 2)
            )
            shares.append(two.wall_s / one.wall_s)
            print(
                f"one {one.wall_s:6.2f} s, busy {one.busy:.2f}   two {two.wall_s:6.2f} s, busy {two.busy:.2f}"
                f"   share {shares[-1]:.3f}",
                flush=True,
            )
    print(
        f"{args.tracker}, {args.clips} clips of {args.frames} frames: share {statistics.median(shares):.3f}"
    )


if __name__ == "__main__":
    import batch_scaling  # by its name, by which workers find the stage

    batch_scaling.main()
