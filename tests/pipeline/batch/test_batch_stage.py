"""One job at a time, without Ray: done-marks, resuming, redoing, and failures with their reasons."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vidseg
from support.fake_batch import BOX, left_over, make_jobs, masks_of, undisturbed_masks
from support.hard_videos import numbered, truncated
from vidseg.errors import (
    CheckpointError,
    DecodeError,
    OutOfMemoryError,
    OutputBusyError,
    RunError,
    SourceError,
)
from vidseg.pipeline.batch.jobs import Job, JobsFile
from vidseg.pipeline.batch.scratch import Scratch
from vidseg.pipeline.batch.stage import TrackingStage, may_pass
from vidseg.pipeline.batch.stores import StoreError
from vidseg.pipeline.out_folder import OutFolder
from vidseg.testing import FakeSession, FakeTracker


@pytest.fixture
def job(tmp_path: Path) -> Job:
    jobs = JobsFile(make_jobs(tmp_path / "jobs", {"clip": 12}))
    return next(iter(jobs))[1]


@pytest.fixture
def stage(tmp_path: Path, job: Job) -> TrackingStage:
    stage = TrackingStage(str(tmp_path / "out"))
    stage.setup(job)
    return stage


def test_job_gives_what_track_gives(tmp_path: Path, job: Job, stage: TrackingStage) -> None:
    outcome = stage.process(job)
    assert (outcome.status, outcome.frames, outcome.reason) == ("done", 12, None)
    vidseg.track(job.video, BOX, tracker=FakeTracker(), out=tmp_path / "alone", formats=("png", "rle"))
    assert masks_of(tmp_path / "out/clip") == masks_of(tmp_path / "alone")
    assert left_over(tmp_path / "out") == []


def test_progress_changes_with_frames_and_with_what_comes_from_a_store(
    tmp_path: Path, job: Job, stage: TrackingStage
) -> None:
    before = stage.progress()
    stage.process(job)
    assert stage.progress() == before + 12
    stage.scratch = Scratch(tmp_path / "scratch")
    folder = stage.scratch.folder(job.id)
    (folder / "video").mkdir()
    (folder / "video/clip.mp4").write_bytes(bytes(100))
    assert stage.progress() == before + 112
    stage.close()
    assert stage.progress() == before + 12


def test_done_job_is_not_done_again(tmp_path: Path, job: Job, stage: TrackingStage) -> None:
    stage.process(job)
    before = (tmp_path / "out/clip/run.json").stat().st_mtime_ns
    outcome = stage.process(job)
    assert (outcome.status, outcome.was_done_before, outcome.frames) == ("done", True, 12)
    assert (tmp_path / "out/clip/run.json").stat().st_mtime_ns == before


def test_done_job_whose_worker_was_killed_before_it_tidied_up_leaves_no_state(
    tmp_path: Path, job: Job, stage: TrackingStage
) -> None:
    stage.process(job)
    state = tmp_path / "out/clip/.state"
    state.mkdir()
    (state / "lock").touch()
    assert stage.process(job).was_done_before
    assert left_over(tmp_path / "out") == []


@pytest.mark.parametrize("what", ["video", "prompt", "options"])
def test_job_that_changed_is_done_again(tmp_path: Path, job: Job, stage: TrackingStage, what: str) -> None:
    stage.process(job)
    first = masks_of(tmp_path / "out/clip")
    if what == "video":
        numbered(Path(job.video), 9, (48, 64))
    prompt: Any = {"box": [5, 5, 20, 20]} if what == "prompt" else job.prompt
    options = job.options.model_copy(update={"end": 8}) if what == "options" else job.options
    now = Job(id=job.id, video=job.video, prompt=prompt, options=options)
    outcome = stage.process(now)
    assert (outcome.status, outcome.was_done_before) == ("done", False)
    fresh = TrackingStage(str(tmp_path / "fresh"))
    fresh.process(now)
    assert masks_of(tmp_path / "out/clip") == masks_of(tmp_path / "fresh/clip") != first


def test_job_cut_off_goes_on_from_its_last_state(
    tmp_path: Path, job: Job, stage: TrackingStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = FakeSession.step

    def copied(session: FakeSession, frame: Any) -> Any:
        if frame.index == 8 and not (tmp_path / "cut").exists():  # as a kill would leave it
            shutil.copytree(tmp_path / "out", tmp_path / "cut")
        return step(session, frame)

    monkeypatch.setattr(FakeSession, "step", copied)
    stage.process(job)
    other = TrackingStage(str(tmp_path / "cut"))
    other.setup(job)
    outcome = other.process(job)
    assert outcome.status == "done"
    assert json.loads((tmp_path / "cut/clip/run.json").read_text())["resumed"] == 1
    calls = other._tracker[1].calls  # type: ignore[index, attr-defined]
    assert min(index for call, index in calls if call == "step") == 6
    assert masks_of(tmp_path / "cut") == masks_of(tmp_path / "out")
    assert left_over(tmp_path / "cut") == []


def test_useless_state_is_done_again(tmp_path: Path, job: Job, stage: TrackingStage) -> None:
    stage.process(job)
    whole = masks_of(tmp_path / "out")
    record = tmp_path / "out/clip/run.json"
    record.write_text(record.read_text().replace('"done"', '"running"', 1))
    (tmp_path / "out/clip/.state").mkdir()
    (tmp_path / "out/clip/.state/checkpoint.json").write_text("{")
    assert stage.process(job).status == "done"
    assert masks_of(tmp_path / "out") == whole


def test_job_that_another_worker_still_has_may_be_tried_later(
    tmp_path: Path, job: Job, stage: TrackingStage
) -> None:
    other = OutFolder(tmp_path / "out/clip")
    other.claim()
    outcome = stage.process(job)
    assert (outcome.status, outcome.kind, outcome.may_pass) == ("failed", "OutputBusyError", True)
    other.release()
    assert stage.process(job).status == "done"


def test_stop_saves_the_job_in_hand(tmp_path: Path) -> None:
    path = make_jobs(tmp_path / "jobs", {"clip": 12}, seconds_a_frame=0.05)
    job = next(iter(JobsFile(path)))[1]
    stage = TrackingStage(str(tmp_path / "out"))
    stage.setup(job)

    def stop_soon() -> None:
        while not (tmp_path / "out/clip/masks/00002.png").exists():
            time.sleep(0.01)
        stage.request_stop()

    thread = threading.Thread(target=stop_soon)
    thread.start()
    outcome = stage.process(job)
    thread.join()
    assert outcome.status == "interrupted"
    assert 3 <= outcome.frames < 12
    assert stage.process(job).status == "interrupted"  # nothing more is begun
    again = TrackingStage(str(tmp_path / "out"))
    again.setup(job)
    assert again.process(job).status == "done"
    assert masks_of(tmp_path / "out") == undisturbed_masks([job], tmp_path / "quiet")


def test_bad_jobs_fail_with_their_reason_and_leave_nothing_unfinished(
    tmp_path: Path, job: Job, stage: TrackingStage
) -> None:
    numbered(tmp_path / "whole.mkv", 40, (48, 64), options={"g": "5"})
    truncated(tmp_path / "whole.mkv", tmp_path / "cut.mkv")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "prompt.json").write_text('{"boxx": [1, 2, 3, 4]}')
    far = {"objects": [{"id": 1, "prompts": [{"frame": 99, "box": [1, 1, 9, 9]}]}]}
    bad: dict[str, tuple[dict[str, Any], str, str]] = {
        "missing": ({"video": str(tmp_path / "none.mp4")}, "SourceError", "none.mp4"),
        "text": ({"video": str(tmp_path / "text.mp4")}, "SourceError", "cannot be opened as a video"),
        "prompt": ({"prompt": str(tmp_path / "prompt.json")}, "PromptError", "did you mean 'box'"),
        "no-prompt": ({"prompt": str(tmp_path / "none.json")}, "PromptError", "no prompt file"),
        "far": ({"prompt": far}, "PromptError", "past the end"),
        "cut": ({"video": str(tmp_path / "cut.mkv")}, "DecodeError", ""),
    }
    for job_id, (what, kind, reason) in bad.items():
        fields = {"video": job.video, "prompt": job.prompt, "options": job.options}
        outcome = stage.process(Job(id=job_id, **{**fields, **what}))
        assert (outcome.status, outcome.kind, outcome.may_pass) == ("failed", kind, False), outcome
        told = f"{outcome.reason} {outcome.where} {outcome.hint}"
        assert reason in told
    assert left_over(tmp_path / "out") == []
    assert stage.process(job).status == "done"  # none of them harms the next one


def test_a_pipe_in_place_of_a_video_is_refused_at_once(
    tmp_path: Path, job: Job, stage: TrackingStage
) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    outcome = stage.process(replace(job, video=str(tmp_path / "pipe.mp4")))
    assert (outcome.kind, outcome.may_pass) == ("SourceError", False)
    assert "neither a file nor a folder" in (outcome.reason or "")


def test_names_that_fsspec_would_take_for_several_protocols(tmp_path: Path, job: Job) -> None:
    video = Path(job.video).rename(tmp_path / "cam::1 [a].mp4")
    stage = TrackingStage(str(tmp_path / "out::1"))
    now = replace(job, video=str(video))
    assert stage.process(now).status == "done"
    assert stage.process(now).was_done_before


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (StoreError("no answer"), True),
        (OutputBusyError("another run"), True),
        (RunError("the disk is full"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError("slow"), True),
        (OutOfMemoryError("no memory is left"), True),
        (SourceError("no video"), False),
        (CheckpointError("no weights"), False),
        (DecodeError("broke", frames_read=3), False),
        (FileNotFoundError("gone"), False),
        (ZeroDivisionError("a bug"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, answer: bool) -> None:
    assert may_pass(error) is answer


def test_scratch_of_killed_workers_is_removed_by_those_that_live(tmp_path: Path) -> None:
    alive, other = Scratch(tmp_path), Scratch(tmp_path)
    folder = alive.folder("job")
    assert folder.parent.parent == tmp_path  # in a folder between, another user could not make one
    killed = tmp_path / "vidseg-batch-killed"
    other.folder("job")
    (killed / "job").mkdir(parents=True)
    (killed / ".lock").touch()  # which nobody holds any more
    other.close()
    assert not killed.exists()
    assert folder.is_dir()
    alive.close()
    assert list(tmp_path.iterdir()) == []


def test_without_locks_the_scratch_of_others_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    alive, other = Scratch(tmp_path), Scratch(tmp_path)
    folder = alive.folder("job")
    other.folder("job")
    other.close()
    assert folder.is_dir()
    alive.close()
