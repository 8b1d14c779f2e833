"""Jobs that run out of memory are tried again when no other job is beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.fake_batch import make_jobs, masks_of, report_of
from vidseg import cli
from vidseg.pipeline.batch.jobs import JobsFile
from vidseg.pipeline.batch.stage import TrackingStage

HUNGRY = Path(__file__).parents[2] / "support" / "hungry_tracker.py"


def batch(folder: Path, out: Path, *, times: int, more: tuple[str, ...] = ()) -> int:
    """Run three jobs, the first of which has a long video, on a tracker that is hungry so often."""
    jobs = make_jobs(folder / "jobs", {"long": 12, "short": 6, "other": 6})
    notes = folder / "notes"
    notes.mkdir()
    config = {"kind": "hungry", "notes": str(notes), "times": times}
    (folder / "jobs/fake.yaml").write_text(json.dumps(config))
    command = ["batch", str(jobs), "--out", str(out), "--workers", "0", "--quiet"]
    return cli.main([*command, "--plugin", str(HUNGRY), *more])


def test_a_job_that_runs_out_is_done_after_the_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert batch(tmp_path, out, times=1) == 0
    assert [(line["id"], line["tries"]) for line in lines_of(out)] == [
        ("short", 1),
        ("other", 1),
        ("long", 2),
    ]
    record = json.loads((out / "long/run.json").read_text())
    assert (record["status"], record["resumed"]) == ("done", 1)  # from its last saved state


@pytest.mark.parametrize(("times", "more", "tries"), [(9, (), 2), (1, ("--retries", "0"), 1)])
def test_a_job_that_runs_out_alone_fails_with_what_to_lower(
    tmp_path: Path, times: int, more: tuple[str, ...], tries: int
) -> None:
    out = tmp_path / "out"
    assert batch(tmp_path, out, times=times, more=more) == 3
    failed = report_of(out)["long"]
    assert (failed["status"], failed["kind"], failed["tries"]) == ("failed", "OutOfMemoryError", tries)
    assert "the memory of the GPU ran out (2.50 GiB" in failed["reason"]
    assert "fewer objects" in failed["hint"]
    assert report_of(out)["other"]["status"] == "done"


def test_a_stage_that_ran_out_lets_go_of_its_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = JobsFile(make_jobs(tmp_path / "jobs", {"clip": 6}))
    job = next(iter(jobs))[1]
    stage = TrackingStage(str(tmp_path / "out"))
    stage.setup(job)

    def run_out(self: TrackingStage, job: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(TrackingStage, "_do", run_out)
        outcome = stage.process(job)
    assert (outcome.ran_out_of_memory, outcome.may_pass, stage._tracker) == (True, True, None)
    assert stage.process(job).status == "done"
    assert masks_of(tmp_path / "out/clip")


def lines_of(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
