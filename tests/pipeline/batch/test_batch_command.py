"""`vidseg batch` as a person calls it, with --workers 0."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.fake_batch import add_job, left_over, make_jobs, masks_of, report_of
from support.hard_videos import numbered
from support.held_run import held_run
from vidseg.cli import main
from vidseg.pipeline.batch.status import SILENT_S, as_text
from vidseg.testing import FakeSession


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two short videos with prompts beside them, and jobs.jsonl made of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for name in ("a", "b"):
        numbered(tmp_path / f"clips/{name}.mp4", 4, (48, 64))
        (tmp_path / f"clips/{name}.json").write_text('{"box": [10, 10, 30, 30]}')
    assert main(["batch", "make", "clips", "--out", "jobs.jsonl"]) == 0
    return tmp_path


def run(*more: str) -> int:
    """The jobs run with a quick tracker, unless another one is asked for."""
    return main(["batch", "jobs.jsonl", "--out", "out", "--workers", "0", "--tracker", "flow", *more])


def test_jobs_run_and_are_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("--tracker", "vidseg-nano") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("done: 2 of 2 jobs done, 0 failed\n  8 frames, ")
    assert printed.err == ""
    assert sorted(path.name for path in (place / "out").iterdir()) == [
        "a",
        "b",
        "report.html",
        "report.jsonl",
        "summary.json",
    ]
    assert [line["status"] for line in report_of(place / "out").values()] == ["done", "done"]
    page = (place / "out/report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "Failed" not in page


def test_second_run_finds_all_done(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--quiet") == 0
    capsys.readouterr()
    assert run("--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["done"], summary["done_before"], summary["frames"]) == (2, 2, 0)


def test_failed_jobs_come_first_in_the_report_and_give_exit_code_3(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "clips/bad.mp4").write_text("<b>no video</b>")
    add_job(place / "jobs.jsonl", id="bad", video="clips/bad.mp4")
    assert run("--format", "png") == 3
    printed = capsys.readouterr().out
    assert "failed: 1 x SourceError\n    bad: " in printed
    assert "cannot be opened as a video" in printed
    line = report_of(place / "out")["bad"]
    assert (line["status"], line["kind"], line["tries"]) == ("failed", "SourceError", 1)
    page = (place / "out/report.html").read_text()
    assert page.index("cannot be opened as a video") < page.index("Results (2 of 2)")
    assert "data:image" not in page  # no overlays to show


def test_a_first_job_whose_own_tracker_cannot_be_loaded_takes_no_other_down(place: Path) -> None:
    first, second = map(json.loads, (place / "jobs.jsonl").read_text().splitlines())
    first |= {"tracker": "edgetam", "options": {"weights": "none.pt"}}
    (place / "jobs.jsonl").write_text(json.dumps(first) + "\n" + json.dumps(second) + "\n")
    assert run() == 3
    report = report_of(place / "out")
    assert {job_id: line.get("kind") for job_id, line in report.items()} == {
        "a": "CheckpointError",
        "b": None,
    }


def test_weights_that_all_jobs_lack_end_the_run_before_it_begins(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--tracker", "edgetam", "--weights", "none.pt") == 2
    assert "no such checkpoint" in capsys.readouterr().err
    assert not (place / "out").exists()


def test_of_many_failed_jobs_five_are_named() -> None:
    named = [{"id": f"j{k}", "reason": "it is no video"} for k in range(5)]
    summary: dict[str, Any] = {"status": "done", "done": 1, "jobs": 8, "done_before": 0, "failed": 7}
    summary |= {"frames": 9, "frames_per_second": 1.0, "seconds_left": None, "failures": {"SourceError": 7}}
    told = as_text(summary | {"first_failed": named}).splitlines()
    assert told[-6:] == [*(f"    j{k}: it is no video" for k in range(5)), "    and 2 more"]
    assert as_text(summary).endswith("7 x SourceError")  # a run of before they were named


def test_bad_lines_stop_everything_before_it_starts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(place / "jobs.jsonl", "a") as file:
        file.write("nope\n{}\n")
    assert run() == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "vidseg: 2 of 4 lines of 'jobs.jsonl' are no jobs; nothing was started"
    assert [fault.split(":")[0].strip() for fault in told[1].split(";")] == ["line 3", "line 4"]
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["jobs.jsonl"], "--out is missing"),
        (["status"], "takes a file of jobs"),
        (["jobs.jsonl", "more", "--out", "o"], "takes a file of jobs"),
        (["none.jsonl", "--out", "o"], "no file of jobs"),
        (["jobs.jsonl", "--out", "o", "--workers", "-1"], "--workers is -1"),
        (["jobs.jsonl", "--out", "o", "--cpus", "0"], "--cpus is 0"),
        (["jobs.jsonl", "--out", "o", "--stall-minutes", "-1"], "--stall-minutes is -1"),
        (["jobs.jsonl", "--out", "o", "--stall-minutes", "nan"], "--stall-minutes is nan"),
        (["jobs.jsonl", "--out", "o", "--stall-minutes", "5", "--workers", "0"], "cannot end itself"),
        (["jobs.jsonl", "--out", "nostore://x"], "no store that fsspec knows"),
        (["make", "nowhere", "--out", "o"], "no folder"),
        (["status", "nowhere"], "no run of jobs"),
    ],
)
def test_wrong_calls_are_told_in_a_few_lines(
    place: Path, capsys: pytest.CaptureFixture[str], args: list[str], what: str
) -> None:
    assert main(["batch", *args]) == 2
    told = capsys.readouterr().err
    assert what in told
    assert len(told.splitlines()) <= 3


def test_status_tells_how_a_run_stands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--quiet")
    capsys.readouterr()
    assert main(["batch", "status", "out"]) == 0
    assert capsys.readouterr().out.startswith("done: 2 of 2 jobs done, 0 failed\n")
    summary = json.loads((place / "out/summary.json").read_text())
    running = {**summary, "status": "running", "done": 1, "left": 1, "seconds": 30.0, "running": 1}
    (place / "out/summary.json").write_text(json.dumps(running))
    main(["batch", "status", "out", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["seconds_left"]) == ("running", 30)
    long_ago = {**running, "updated_at": "2020-01-01T00:00:00+00:00"}
    (place / "out/summary.json").write_text(json.dumps(long_ago))
    main(["batch", "status", "out"])
    assert capsys.readouterr().out.startswith("killed: 1 of 2 jobs done")
    assert SILENT_S < 3600


def test_runs_without_ray(place: Path) -> None:
    script = (
        "import sys; sys.modules['ray'] = None\n"
        "from vidseg.cli import main\n"
        "sys.exit(main(['batch', 'jobs.jsonl', '--out', 'out', *sys.argv[1:]]))"
    )
    run = [sys.executable, "-c", script, "--tracker", "flow"]
    assert subprocess.run([*run, "--workers", "0", "--quiet"], cwd=place, timeout=120).returncode == 0
    told = subprocess.run([*run, "--workers", "1"], cwd=place, timeout=120, capture_output=True, text=True)
    assert told.returncode == 2
    assert "pip install 'vidseg[ray]'" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_driver_ended_by_a_signal_goes_on_when_started_again(tmp_path: Path, number: signal.Signals) -> None:
    jobs = make_jobs(tmp_path / "jobs", {"a": 8, "b": 14, "c": 8})
    out, gate = tmp_path / "out", tmp_path / "gate"
    call = ["batch", str(jobs), "--workers", "0", "--out"]
    held = held_run([*call, str(out)], FakeSession, 9, gate)  # the second job alone is so long
    driver = subprocess.Popen(held, stdout=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 120
        while not (tmp_path / "gate-reached").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        driver.send_signal(number)
        gate.touch()
        told, _ = driver.communicate(timeout=120)
    if number != signal.SIGKILL:
        assert driver.returncode == 130
        assert "interrupted: 1 of 3 jobs done" in told
        assert "2 jobs left; the same command goes on" in told
        assert list(report_of(out)) == ["a"]
    assert main([*call, str(out)]) == 0
    report = report_of(out)
    assert [line.get("was_done_before", False) for line in report.values()] == [True, False, False]
    assert json.loads((out / "b/run.json").read_text())["resumed"] == 1
    assert main([*call, str(tmp_path / "quiet")]) == 0
    assert masks_of(out) == masks_of(tmp_path / "quiet")
    assert left_over(out) == []
