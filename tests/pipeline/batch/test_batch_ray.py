"""Jobs on a real Ray of several raylets, with workers, raylets and drivers killed under way."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import fake_batch
from support.fake_batch import (
    BOX,
    CrowdedStage,
    HangingStage,
    LackingStage,
    left_over,
    make_jobs,
    masks_of,
    report_of,
    undisturbed_masks,
)
from support.hard_videos import numbered, truncated
from support.short_clips import write_short_clips
from support.trackers import fake_yaml
from vidseg.errors import RunError
from vidseg.pipeline.batch import stores
from vidseg.pipeline.batch.driver import Driver, Ticket
from vidseg.pipeline.batch.jobs import JobsFile
from vidseg.pipeline.batch.pool import JobStage
from vidseg.pipeline.batch.stage import TrackingStage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLING = Path(__file__).parents[2] / "support" / "killing_tracker.py"
SMALL = 100 << 20
"""Bytes of a node's object store: nothing goes through it."""


@pytest.fixture(scope="session")
def cluster(s3_environment: int) -> Iterator[Any]:
    """A head without CPUs, so that no worker is on it, and two nodes with one each."""
    pytest.importorskip("ray", reason="needs the extra ray")
    # For raylets and the workers they start: patience with a busy machine.
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_raylet_start_wait_time_s", "180")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0, object_store_memory=SMALL, include_dashboard=False)
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=SMALL)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        patch.undo()


GOOD = 57
BAD = {"bad-cut": "DecodeError", "bad-prompt": "PromptError", "kills-its-worker": "PoisonousJob"}


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A folder with 60 jobs, three of them bad, and the masks of a quiet serial run of the others.

    Every third one is for the tracker that notices a frame left out or given twice, slowly enough to be
    killed in mid-video; three are for the default tracker, which remembers most and takes longest; the others
    are for the weight-free one.
    """
    folder = tmp_path_factory.mktemp("sixty")
    choose = random.Random(6)
    fake = fake_yaml(folder)
    lines: list[dict[str, Any]] = []
    for number, (video, prompt) in enumerate(write_short_clips(folder / "clips", GOOD, choose)):
        tracker = {"tracker": str(fake) if number % 3 == 1 else "flow"} if number % 18 != 3 else {}
        video.with_suffix(".json").write_text(json.dumps(prompt))
        said = prompt if number % 2 else f"clips/{video.stem}.json"
        lines.append({"id": f"good-{number:02d}", "video": f"clips/{video.name}", "prompt": said, **tracker})
    numbered(folder / "whole.mkv", 40, (48, 64), options={"g": "5"})
    truncated(folder / "whole.mkv", folder / "clips/cut.mkv")
    lines.append({**lines[0], "id": "bad-cut", "video": "clips/cut.mkv", "prompt": BOX})
    lines.append({**lines[0], "id": "bad-prompt", "prompt": {"box": [500, 500, 600, 600]}})
    (folder / "killing.yaml").write_text("kind: killing\n")
    choose.shuffle(lines)  # workers start with the tracker of the first job: not with that of the last one
    lines.append({**lines[0], "id": "kills-its-worker", "tracker": str(folder / "killing.yaml")})
    path = folder / "jobs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    good = [job for _, job in JobsFile(path) if job.id not in BAD]
    undisturbed = undisturbed_masks(good, folder / "quiet")
    fake_yaml(folder, seconds_a_frame=0.05)
    return folder, undisturbed


@pytest.mark.parametrize(("place", "seed", "every"), [("disk", 1, 2), ("store", 2, 1)])
def test_jobs_survive_the_kill_of_a_worker_a_raylet_and_the_driver(
    cluster: Any,
    sixty: tuple[Path, dict[str, bytes]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    place: str,
    seed: int,
    every: int,
) -> None:
    folder, masks = sixty
    jobs, good = take_every(every, folder)
    masks = {name: data for name, data in masks.items() if name.split("/")[0] in good}
    out = str(tmp_path / "out")
    if place == "store":  # jobs, videos and outputs
        bucket = request.getfixturevalue("s3")
        stores.upload([*(folder / "clips").iterdir(), Path(jobs)], folder, f"{bucket}/in")
        jobs, out = f"{bucket}/in/{Path(jobs).name}", f"{bucket}/out"
    scratch = tmp_path / "scratch"
    command = [sys.executable, "-m", "vidseg", "batch", jobs, "--workers", "2", "--json"]
    command += ["--ray-address", cluster.address, "--out", out, "--scratch", str(scratch)]
    command += ["--plugin", str(KILLING), "--save-every", "3"]
    if place == "disk":
        command += ["--format", "png,rle"]

    exit_code, told = run_with_kills(command, cluster, random.Random(seed), lambda: num_done(out), len(good))
    assert exit_code == 3
    assert json.loads(told)["done"] == len(good)  # nothing of Ray's between it

    fetched = tmp_path / "out"
    if place == "store":
        stores.download(out, fetched)
        for tar in fetched.glob("*/masks.tar"):
            shutil.unpack_archive(tar, tar.parent)
    report = report_of(fetched)
    assert len(report) == len(good) + len(BAD)
    failed = {job_id: line["kind"] for job_id, line in report.items() if line["status"] != "done"}
    assert failed == BAD
    assert {name: data for name, data in masks_of(fetched).items() if name.startswith("good-")} == masks
    assert left_over(fetched) == []
    assert list(scratch.glob("*")) == []
    assert json.loads((fetched / "summary.json").read_text())["done"] == len(good)


def take_every(every: int, folder: Path) -> tuple[str, set[str]]:
    """A jobs file with every n-th good job and all bad ones, in their order; and the ids of the good ones."""
    lines = (folder / "jobs.jsonl").read_text().splitlines()
    good = [line for line in lines if json.loads(line)["id"] not in BAD][::every]
    path = folder / f"every-{every}.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines if line in good or json.loads(line)["id"] in BAD))
    return str(path), {json.loads(line)["id"] for line in good}


def num_done(out: str) -> int:
    """Jobs whose masklets are whole."""
    if not stores.is_remote(out):
        return len(list(Path(out).glob("*/masklets.jsonl")))
    return sum(name.endswith("/masklets.jsonl") for name, _ in stores.list_files(out))


def run_with_kills(
    command: list[str], cluster: Any, choose: random.Random, num_done: Callable[[], int], num_good: int
) -> tuple[int, str]:
    """Run a driver to its end, started again when it is killed; returns its exit code and what it printed.

    A worker that has a job, a raylet, and the driver are killed, in a random order, each when some random
    number of jobs is done.
    """

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def kill_worker() -> bool:
        at_work = workers_at_work(cluster)
        if at_work:
            os.kill(choose.choice(at_work), signal.SIGKILL)
        return bool(at_work)

    def kill_raylet() -> bool:
        doomed = choose.choice(sorted(cluster.worker_nodes, key=lambda node: str(node.node_id)))
        cluster.remove_node(doomed, allow_graceful=False)
        cluster.add_node(num_cpus=1, object_store_memory=SMALL)
        return True

    def kill_driver() -> bool:
        drivers[-1].kill()
        drivers[-1].wait(timeout=60)
        drivers.append(start())
        return True

    acts = choose.sample([kill_worker, kill_raylet, kill_driver], 3)
    moments = sorted(choose.sample(range(4, num_good - 8), len(acts)))
    drivers = [start()]
    until = time.monotonic() + 400
    try:
        while acts or drivers[-1].poll() is None:
            assert time.monotonic() < until
            assert not acts or drivers[-1].poll() is None, "the run ended before everything was killed"
            if acts and num_done() >= moments[0] and acts[0]():
                acts.pop(0)
                moments.pop(0)
            time.sleep(0.1)
        return int(drivers[-1].returncode), drivers[-1].communicate()[0]
    finally:
        for driver in drivers:
            driver.kill()
            driver.wait()


def workers_at_work(cluster: Any) -> list[int]:
    """The processes of the cluster's workers that have a job in their hands."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            title = (process / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if parent in raylets and title.startswith(b"ray::_Worker.process"):
            found.append(int(process.name))
    return sorted(found)


def start_pool(
    stage: JobStage,
    jobs: JobsFile,
    address: str,
    workers: int | None = 2,
    cpus: float = 1.0,
    stall_s: float = 600.0,
) -> Any:
    from vidseg.pipeline.batch.ray_pool import Needs, RayPool

    pool: RayPool[Ticket] = RayPool(
        stage,
        next(iter(jobs))[1],
        workers=workers,
        needs=Needs(cpus=cpus),
        address=address,
        stall_s=stall_s,
    )
    return pool


def test_jobs_that_ran_out_of_memory_get_a_machine_to_themselves(cluster: Any, tmp_path: Path) -> None:
    jobs = JobsFile(make_jobs(tmp_path / "jobs", dict.fromkeys("abcdef", 3)))
    (tmp_path / "workers").mkdir()
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(fake_batch)  # workers have no tests to import it from
    pool = start_pool(CrowdedStage(tmp_path / "workers"), jobs, cluster.address, workers=4, cpus=0.5)
    try:
        until = time.monotonic() + 400
        while pool.num_workers < 4:
            assert time.monotonic() < until
            pool.wait(1.0)
        assert Driver(jobs, jobs.check(), str(tmp_path / "out"), pool).run() == "done"
    finally:
        pool.close()
    report = report_of(tmp_path / "out")
    assert {job_id: (line["status"], line["tries"]) for job_id, line in report.items()} == dict.fromkeys(
        "abcdef", ("done", 2)
    )


def test_a_job_that_hangs_holds_no_worker(cluster: Any, tmp_path: Path) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(fake_batch)
    jobs = JobsFile(make_jobs(tmp_path / "jobs", dict.fromkeys(("always", "once", "slow", "a", "b"), 3)))
    stage = HangingStage(tmp_path, slow_s=12.0)
    pool = start_pool(stage, jobs, cluster.address, stall_s=9.0)
    try:
        assert Driver(jobs, jobs.check(), str(tmp_path / "out"), pool, backoff_s=0.1).run() == "done"
    finally:
        pool.close()
    report = report_of(tmp_path / "out")
    assert {job_id: (line["status"], line["tries"]) for job_id, line in report.items()} == {
        "always": ("failed", 2),
        "once": ("done", 2),
        "slow": ("done", 1),
        "a": ("done", 1),
        "b": ("done", 1),
    }
    assert report["always"]["kind"] == "PoisonousJob"
    assert "it got no further for 0.15 minutes" in report["always"]["reason"]
    assert "--stall-minutes" in report["always"]["hint"]


def test_a_cluster_without_room_for_any_worker_is_told_of(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidseg.pipeline.batch import ray_pool

    monkeypatch.setattr(ray_pool, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(ray_pool, "IDLE_PATIENCE_S", 0.2)
    jobs = JobsFile(make_jobs(tmp_path / "jobs", {"a": 3}))
    pool = start_pool(TrackingStage(str(tmp_path / "out")), jobs, cluster.address, cpus=64)
    try:
        time.sleep(0.2)
        with pytest.warns(UserWarning, match=r"one needs Needs\(cpus=64.*together have \{'CPU': 2"):
            pool.wait(0.1)
    finally:
        pool.close()


def test_a_machine_on_which_no_worker_can_start_leaves_the_jobs_to_the_others(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import cloudpickle

    from vidseg.pipeline.batch import ray_pool

    cloudpickle.register_pickle_by_value(fake_batch)
    monkeypatch.setattr(ray_pool, "LOOK_AGAIN_S", 1.0)
    jobs = JobsFile(make_jobs(tmp_path / "jobs", dict.fromkeys("abcdef", 3)))
    (tmp_path / "workers").mkdir()
    pool = start_pool(LackingStage(tmp_path / "workers"), jobs, cluster.address)
    try:
        with pytest.warns(UserWarning, match=r"a worker could not start \(this machine has no weights"):
            assert Driver(jobs, jobs.check(), str(tmp_path / "out"), pool).run() == "done"
    finally:
        pool.close()
    assert {line["status"] for line in report_of(tmp_path / "out").values()} == {"done"}


@pytest.mark.filterwarnings("ignore:a worker could not start")
def test_machines_with_another_version_do_no_jobs(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidseg.pipeline.batch import ray_pool

    monkeypatch.setattr(ray_pool, "__version__", "0.0.0")
    jobs = JobsFile(make_jobs(tmp_path / "jobs", {"a": 3}))
    pool = start_pool(TrackingStage(str(tmp_path / "out")), jobs, cluster.address)
    try:
        with pytest.raises(RunError, match=r"a machine has vidseg .*, and the command 0\.0\.0"):
            wait_for(pool, 1)
    finally:
        pool.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_driver_ended_under_way_is_started_again(
    cluster: Any, tmp_path: Path, number: signal.Signals
) -> None:
    # Those that run when the signal comes are long: it takes its time to reach the workers.
    lengths = {"clip-0": 10, "clip-1": 10, "clip-2": 80, "clip-3": 80, "clip-4": 10, "clip-5": 10}
    path = make_jobs(tmp_path / "jobs", lengths, seconds_a_frame=0.05)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vidseg", "batch", str(path), "--workers", "2", "--quiet"]
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
    fake_yaml(path.parent)  # the same masks, without a wait
    assert masks_of(out) == undisturbed_masks((job for _, job in JobsFile(path)), tmp_path / "quiet")
    assert left_over(out) == []


def test_pool_takes_as_many_workers_as_fit_and_grows_with_the_cluster(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidseg.pipeline.batch import ray_pool

    monkeypatch.setattr(ray_pool, "LOOK_AGAIN_S", 0.5)
    jobs = JobsFile(make_jobs(tmp_path / "jobs", {"a": 3}))
    pool = start_pool(TrackingStage(str(tmp_path / "out")), jobs, cluster.address, workers=None)
    new = None
    try:
        assert wait_for(pool, 2)
        new = cluster.add_node(num_cpus=1, object_store_memory=SMALL)
        assert wait_for(pool, 3)
    finally:
        pool.close()
        if new is not None:
            cluster.remove_node(new)


def test_workers_that_ray_gives_up_before_they_run_are_not_held_against_the_run(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from vidseg.pipeline.batch import ray_pool

    monkeypatch.setattr(ray_pool, "START_PATIENCE_S", 0.0)
    jobs = JobsFile(make_jobs(tmp_path / "jobs", {"a": 3}))
    pool = start_pool(TrackingStage(str(tmp_path / "out")), jobs, cluster.address, workers=3)
    try:
        assert wait_for(pool, 2)  # the third waits for a machine
        given_up = 0
        until = time.monotonic() + 240
        while given_up < ray_pool.MAX_FAILED_STARTS + 1 and time.monotonic() < until:
            waiting = [member for member, _ in pool._in_flight.values()]
            for member in waiting:
                ray.kill(member.actor)
                given_up += 1
            while any(member in waiting for member, _ in pool._in_flight.values()):
                pool.wait(0.5)
            pool.wait(0.5)
        assert given_up > ray_pool.MAX_FAILED_STARTS
        assert pool.num_workers == 2
    finally:
        pool.close()


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


@pytest.mark.parametrize(("asked", "told"), [(0, None), (1000, 1000)])
def test_ray_counts_the_processors_of_a_container_itself_unless_workers_need_more(
    asked: int, told: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from vidseg.pipeline.batch import ray_pool

    given: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", lambda **options: given.update(options))
    ray_pool._start(None, asked)
    assert given["num_cpus"] == told
