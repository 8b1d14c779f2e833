"""The driver's decisions, on a pool that does as it is told."""

from __future__ import annotations

import errno
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from support.fake_batch import NoOpStage, report_of
from vidseg.errors import OutputError
from vidseg.pipeline.batch import stores
from vidseg.pipeline.batch.driver import MAX_NODE_LOSSES, Driver, Ticket
from vidseg.pipeline.batch.job_lines import Report, open_report
from vidseg.pipeline.batch.jobs import Job, JobsFile
from vidseg.pipeline.batch.pool import InProcessPool, Lost
from vidseg.pipeline.batch.report import write_report
from vidseg.pipeline.batch.stage import JobOutcome

Answer = Callable[[Job, int], JobOutcome | Lost]


class ToldPool:
    """Workers that answer as a test says, given the job and how often it was tried."""

    def __init__(self, answer: Answer, num_workers: int = 3) -> None:
        self.answer = answer
        self.num_workers = num_workers
        self.in_hand: list[tuple[Ticket, Job]] = []
        self.most_in_hand = 0
        self.tries: list[str] = []
        self.room_made_after: list[int] = []

    def has_room(self) -> bool:
        return len(self.in_hand) < self.num_workers

    def submit(self, ticket: Ticket, job: Job) -> None:
        self.in_hand.append((ticket, job))
        self.most_in_hand = max(self.most_in_hand, len(self.in_hand))
        self.tries.append(job.id)

    def wait(self, timeout_s: float) -> list[tuple[Ticket, JobOutcome | Lost]]:
        ticket, job = self.in_hand.pop()
        return [(ticket, self.answer(job, self.tries.count(job.id)))]

    def make_room(self) -> None:
        assert not self.in_hand
        self.room_made_after.append(len(self.tries))

    def request_stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def jobs_of(folder: Path, count: int) -> JobsFile:
    lines = [{"id": f"j{k}", "video": f"{k}.mp4", "prompt": {"box": [1, 2, 3, 4]}} for k in range(count)]
    (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return JobsFile(folder / "jobs.jsonl")


def drive(folder: Path, answer: Answer, count: int = 6, retries: int = 3) -> tuple[Driver, ToldPool]:
    pool = ToldPool(answer)
    jobs = jobs_of(folder, count)
    driver = Driver(jobs, jobs.check(), str(folder / "out"), pool, retries=retries, backoff_s=0.001)
    assert driver.run() == "done"
    assert sorted(report_of(folder / "out")) == sorted({f"j{k}" for k in range(count)})
    return driver, pool


def done(job: Job) -> JobOutcome:
    return JobOutcome(id=job.id, status="done", frames=5)


def failed(job: Job, *, may_pass: bool) -> JobOutcome:
    return JobOutcome(id=job.id, status="failed", kind="RunError", reason="because", may_pass=may_pass)


def crowded(job: Job) -> JobOutcome:
    kind = "OutOfMemoryError"
    return JobOutcome(id=job.id, status="failed", kind=kind, may_pass=True, ran_out_of_memory=True)


def test_jobs_that_run_out_of_memory_are_tried_alone_when_the_others_have_ended(tmp_path: Path) -> None:
    lost = Lost(reason="no memory left", is_by_node=False, ran_out_of_memory=True)
    answers: dict[str, Answer] = {
        "j1": lambda job, tries: crowded(job) if tries == 1 else done(job),
        "j2": lambda job, tries: crowded(job),
        "j3": lambda job, tries: lost if tries == 1 else done(job),
        "j4": lambda job, tries: failed(job, may_pass=True) if tries == 1 else done(job),
    }
    driver, pool = drive(tmp_path, lambda job, tries: answers.get(job.id, lambda j, t: done(j))(job, tries))
    assert pool.room_made_after == [7]  # each once, and j4 twice
    assert sorted(pool.tries[7:]) == ["j1", "j2", "j3"]
    assert (driver.tally.done, driver.tally.failed, driver.tally.retries) == (5, 1, 4)
    assert report_of(tmp_path / "out")["j2"]["tries"] == 2


def test_every_job_is_done_once_with_no_more_in_hand_than_workers(tmp_path: Path) -> None:
    driver, pool = drive(tmp_path, lambda job, tries: done(job), count=50)
    assert pool.most_in_hand == 3
    assert len(pool.tries) == driver.tally.done == 50
    assert driver.tally.frames == 250


def test_failures_that_may_pass_are_tried_again(tmp_path: Path) -> None:
    driver, _ = drive(
        tmp_path, lambda job, tries: done(job) if job.id != "j2" or tries == 4 else failed(job, may_pass=True)
    )
    assert driver.tally.failed == 0
    assert driver.tally.retries == 3
    assert report_of(tmp_path / "out")["j2"]["tries"] == 4


def test_retries_come_to_an_end(tmp_path: Path) -> None:
    driver, pool = drive(
        tmp_path, lambda job, tries: failed(job, may_pass=True) if job.id == "j0" else done(job), retries=2
    )
    assert driver.tally.failed == 1
    assert pool.tries.count("j0") == 3


def test_failures_that_will_not_pass_are_not_tried_again(tmp_path: Path) -> None:
    driver, pool = drive(
        tmp_path, lambda job, tries: failed(job, may_pass=False) if job.id == "j1" else done(job)
    )
    assert (driver.tally.failed, driver.tally.failures["RunError"]) == (1, 1)
    assert pool.tries.count("j1") == 1


def test_job_that_kills_two_workers_is_set_aside(tmp_path: Path) -> None:
    lost = Lost(reason="worker died", is_by_node=False)
    _, pool = drive(tmp_path, lambda job, tries: lost if job.id in ("j1", "j3") and tries < 3 else done(job))
    line = report_of(tmp_path / "out")["j1"]
    assert (line["kind"], line["tries"]) == ("PoisonousJob", 2)
    assert "2 workers ended" in line["reason"]
    assert pool.tries.count("j3") == 2


def test_lost_machines_are_no_fault_of_the_job(tmp_path: Path) -> None:
    lost = Lost(reason="node died", is_by_node=True)
    driver, _ = drive(tmp_path, lambda job, tries: lost if tries < MAX_NODE_LOSSES else done(job), count=2)
    assert driver.tally.failed == 0


def test_a_job_whose_worker_alone_is_interrupted_is_tried_again(tmp_path: Path) -> None:
    driver, pool = drive(
        tmp_path,
        lambda job, tries: (
            JobOutcome(id=job.id, status="interrupted") if (job.id, tries) == ("j2", 1) else done(job)
        ),
    )
    assert driver.tally.done == 6
    assert pool.tries.count("j2") == 2


def test_stopped_driver_begins_nothing_more(tmp_path: Path) -> None:
    def stop_at_second(job: Job, tries: int) -> JobOutcome:
        driver.request_stop()
        return done(job)

    pool = ToldPool(stop_at_second, num_workers=1)
    jobs = jobs_of(tmp_path, 5)
    driver = Driver(jobs, 5, str(tmp_path / "out"), pool)
    assert driver.run() == "interrupted"
    assert pool.tries == ["j0"]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["status"], summary["left"]) == ("interrupted", 4)


def test_second_driver_keeps_out(tmp_path: Path) -> None:
    report = open_report(str(tmp_path))
    with pytest.raises(OutputError, match="another run of jobs"):
        open_report(str(tmp_path))
    report.close()
    open_report(str(tmp_path)).close()


def test_a_full_disk_does_not_end_a_run_whose_jobs_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(job: Job, tries: int) -> JobOutcome:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(stores, "write_whole", full)
        monkeypatch.setattr(Report, "write", full)
        return done(job)

    jobs = jobs_of(tmp_path, 2)
    driver = Driver(jobs, 2, str(tmp_path / "out"), ToldPool(fill_disk))
    with pytest.warns(UserWarning, match="could not be written") as warned:
        assert driver.run() == "done"
    told = {str(warning.message) for warning in warned}
    assert told == {
        f"'{name}' could not be written (No space left on device)"
        for name in ("report.jsonl", "summary.json")
    }
    assert (driver.summary["status"], driver.summary["done"]) == ("done", 2)
    assert json.loads((tmp_path / "out/summary.json").read_text())["status"] == "running"


def test_half_a_line_that_a_full_disk_left_spoils_no_report(tmp_path: Path) -> None:
    drive(tmp_path, lambda job, tries: done(job), count=3)
    path = tmp_path / "out/report.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert "Results (2 of 2)" in Path(write_report(str(tmp_path / "out"))).read_text()


def peak_bytes(folder: Path, count: int) -> int:
    folder.mkdir()
    jobs = jobs_of(folder, count)
    tracemalloc.start()
    try:
        num_jobs = jobs.check()
        pool: InProcessPool[Ticket] = InProcessPool(NoOpStage(), next(iter(jobs))[1])
        Driver(jobs, num_jobs, str(folder / "out"), pool).run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_grows_by_less_than_200_bytes_a_job(tmp_path: Path) -> None:
    peak_bytes(tmp_path / "warm", 100)
    few, many = peak_bytes(tmp_path / "few", 500), peak_bytes(tmp_path / "many", 4500)
    assert (many - few) / 4000 < 200
