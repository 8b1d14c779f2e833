"""A run on Ray, scraped as Prometheus scrapes it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fake_batch import add_job, make_jobs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address of a Ray of one node with one CPU, and the port of its metrics."""
    pytest.importorskip("ray", reason="needs the extra ray")
    pytest.importorskip("prometheus_client", reason="needs ray[default], of the extra ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "180")
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "500")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    cluster = Cluster()
    try:
        cluster.add_node(
            num_cpus=1, object_store_memory=100 << 20, include_dashboard=False, metrics_export_port=port
        )
        yield cluster.address, port
    finally:
        cluster.shutdown()


STATES = ("queued", "running", "done", "failed")
FRAMES = 5


def test_prometheus_sees_jobs_frames_and_stages(ports: tuple[str, int], tmp_path: Path) -> None:
    address, port = ports
    jobs = make_jobs(tmp_path, {f"clip-{number}": FRAMES for number in range(6)}, seconds_a_frame=0.1)
    add_job(jobs, id="bad", video="missing.mp4")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vidseg", "batch", str(jobs), "--out", str(out)]
    command += ["--ray-address", address, "--workers", "1", "--quiet"]
    driver = subprocess.Popen(command)
    try:
        seen = scrape_until_a_job_is_done(port, str(out), driver)
    finally:
        driver.kill()
        driver.wait(timeout=60)

    assert sum(seen["jobs", state] for state in STATES) == 7
    assert seen["workers", ""] == 1
    assert seen["frames_per_second", ""] > 0
    assert seen["seconds_total", "track"] >= 0.1 * seen["frames_total", ""]  # each frame slept as long
    assert {stage for name, stage in seen if name == "seconds_total"} == {"read", "track", "write"}


def scrape_until_a_job_is_done(
    port: int, out: str, driver: subprocess.Popen[bytes]
) -> dict[tuple[str, str], float]:
    """The first scrape that shows a job as done, and its frames."""
    until = time.monotonic() + 300
    seen: dict[tuple[str, str], float] = {}
    while time.monotonic() < until and driver.poll() is None:
        seen = scrape(port, out)
        done = seen.get(("jobs", "done"), 0)
        if done and seen.get(("frames_total", "")) == FRAMES * done:
            return seen
        time.sleep(0.2)
    pytest.fail(f"no job was seen to be done; seen: {seen}")


def scrape(port: int, out: str) -> dict[tuple[str, str], float]:
    """The metrics of a run: (name, state or stage) -> value. Ray adds tags and metrics of its own."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:  # not up yet
        return {}
    found = {}
    for name, tags, value in re.findall(r"^ray_vidseg_(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        tag = dict(re.findall(r'(\w+)="([^"]*)"', tags))
        assert tag["out"] == out
        found[name, tag.get("state", tag.get("stage", ""))] = float(value)
    return found
