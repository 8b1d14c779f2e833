"""Jobs on a real Ray of several raylets, with workers, raylets and drivers killed under way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fake_batch import FakeStage, add_job, left_over, make_jobs, masks_of, report_of
from support.hard_videos import numbered, truncated
from vidseg.pipeline.batch.driver import Driver, Ticket
from vidseg.pipeline.batch.jobs import JobsFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TESTS = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A head without CPUs, so that no worker is on it, and one node with two."""
    pytest.importorskip("ray", reason="needs the extra ray")
    # For raylets and the workers they start: the tests' stage, and patience with a busy machine.
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(TESTS))
    patch.setenv("RAY_raylet_start_wait_time_s", "180")
    patch.setenv("RAY_AUTH_MODE", "disabled")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    small = {"object_store_memory": 100 << 20, "include_dashboard": False}
    try:
        cluster.add_node(num_cpus=0, **small)
        cluster.add_node(num_cpus=2, object_store_memory=100 << 20)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        patch.undo()


class Saboteur:
    """A pool that has something killed when so many jobs have ended."""

    def __init__(self, pool: Any, acts: dict[int, Callable[[Any], None]]) -> None:
        self._pool = pool
        self._acts = dict(acts)
        self._ended = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def wait(self, timeout_s: float) -> Any:
        results = self._pool.wait(timeout_s)
        self._ended += len(results)
        for at in [at for at in self._acts if at <= self._ended and self._pool.busy_pids]:
            self._acts.pop(at)(self._pool)
        return results


def start_pool(stage: FakeStage, jobs: JobsFile, address: str, workers: int | None = 2) -> Any:
    from vidseg.pipeline.batch.ray_pool import Needs, RayPool

    pool: RayPool[Ticket] = RayPool(
        stage, next(iter(jobs))[1], workers=workers, needs=Needs(cpus=1), address=address
    )
    return pool


def test_nothing_is_lost_when_workers_and_a_raylet_are_killed(cluster: Any, tmp_path: Path) -> None:
    lengths = {f"clip-{k:02d}": 6 + k % 9 for k in range(20)}
    path = make_jobs(tmp_path / "jobs", lengths, seconds_a_frame=0.03)
    numbered(tmp_path / "whole.mkv", 40, (48, 64), options={"g": "5"})
    truncated(tmp_path / "whole.mkv", tmp_path / "cut.mkv")
    add_job(path, id="bad-cut", video=str(tmp_path / "cut.mkv"))
    add_job(path, id="bad-missing", video="none.mp4")
    add_job(path, id="bad-prompt", prompt={"box": [500, 500, 600, 600]})
    add_job(path, id="kills-its-worker")
    jobs = JobsFile(path)
    choose = random.Random(7)

    def kill_worker(pool: Any) -> None:
        os.kill(choose.choice(pool.busy_pids), signal.SIGKILL)

    def kill_raylet(pool: Any) -> None:
        doomed = next(node for node in cluster.worker_nodes)
        cluster.add_node(num_cpus=2, object_store_memory=100 << 20)
        cluster.remove_node(doomed, allow_graceful=False)

    pool = start_pool(FakeStage(str(tmp_path / "out")), jobs, cluster.address)
    acts = {3: kill_worker, 7: kill_raylet, 13: kill_worker}
    try:
        driver = Driver(jobs, jobs.check(), str(tmp_path / "out"), Saboteur(pool, acts), backoff_s=0.1)
        assert driver.run() == "done"
    finally:
        pool.close()

    report = report_of(tmp_path / "out")
    failed = {job_id: line["kind"] for job_id, line in report.items() if line["status"] == "failed"}
    assert failed == {
        "bad-cut": "DecodeError",
        "bad-missing": "SourceError",
        "bad-prompt": "PromptError",
        "kills-its-worker": "PoisonousJob",
    }
    assert sum(line["tries"] > 1 for line in report.values()) >= 3  # the kills did hit jobs
    quiet = FakeStage(str(tmp_path / "quiet"))
    for _, job in jobs:
        if job.id in lengths:
            quiet.setup(job)
            assert quiet.process(job).status == "done"
            assert masks_of(tmp_path / "out" / job.id) == masks_of(tmp_path / "quiet" / job.id), job.id
    assert left_over(tmp_path / "out") == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_driver_ended_under_way_is_started_again(
    cluster: Any, tmp_path: Path, number: signal.Signals
) -> None:
    lengths = {f"clip-{k}": 10 for k in range(6)}
    path = make_jobs(tmp_path / "jobs", lengths, seconds_a_frame=0.05)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "support.fake_batch", "batch", str(path), "--workers", "2", "--quiet"]
    command += ["--ray-address", cluster.address, "--out"]
    env = dict(os.environ)
    driver = subprocess.Popen([*command, str(out)], env=env)
    try:
        until = time.monotonic() + 240
        while not len(list(out.glob("*/masks/00007.png"))) >= 3:
            assert time.monotonic() < until
            assert driver.poll() is None
            time.sleep(0.02)
    finally:
        driver.send_signal(number)
        driver.wait(timeout=240)
    assert driver.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert subprocess.run([*command, str(out)], env=env, timeout=240).returncode == 0
    report = report_of(out)
    assert {line["status"] for line in report.values()} == {"done"}
    assert any(line.get("was_done_before") for line in report.values())
    records = [json.loads((out / job_id / "run.json").read_text()) for job_id in lengths]
    assert any(record.get("resumed") for record in records)
    jobs = JobsFile(path)
    quiet = FakeStage(str(tmp_path / "quiet"))
    quiet.setup(next(iter(jobs))[1])
    for _, job in jobs:
        quiet.process(job)
    assert masks_of(out) == masks_of(tmp_path / "quiet")
    assert left_over(out) == []


def test_pool_takes_as_many_workers_as_fit_and_grows_with_the_cluster(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidseg.pipeline.batch import ray_pool

    monkeypatch.setattr(ray_pool, "LOOK_AGAIN_S", 0.5)
    jobs = JobsFile(make_jobs(tmp_path / "jobs", {"a": 3}))
    pool = start_pool(FakeStage(str(tmp_path / "out")), jobs, cluster.address, workers=None)
    new = None
    try:
        assert wait_for(pool, 2)
        new = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        assert wait_for(pool, 3)
    finally:
        pool.close()
        if new is not None:
            cluster.remove_node(new)


def wait_for(pool: Any, num_workers: int) -> bool:
    until = time.monotonic() + 240
    while pool.num_workers < num_workers and time.monotonic() < until:
        pool.wait(0.5)
    return bool(pool.num_workers == num_workers)


@pytest.mark.parametrize(
    ("have", "count"),
    [
        ({"CPU": 8.0, "GPU": 2.0, "memory": 64e9}, 4),
        ({"CPU": 3.0, "GPU": 2.0, "memory": 64e9}, 3),
        ({"CPU": 8.0, "GPU": 2.0, "memory": 17e9}, 2),
        ({"CPU": 8.0}, 0),
    ],
)
def test_needs_say_how_many_workers_fit(have: dict[str, float], count: int) -> None:
    from vidseg.pipeline.batch.ray_pool import Needs

    assert Needs(cpus=1, gpus=0.5, memory_bytes=8 * 10**9).fit_in(have) == count
