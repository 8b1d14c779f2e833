"""Videos, prompts, jobs and outputs on stores: in memory, and on an S3 server."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import fsspec
import pytest

from support.fake_batch import BOX, make_jobs, masks_of, undisturbed_masks
from vidseg.cli import main
from vidseg.errors import ConfigError, SourceError
from vidseg.pipeline.batch import remote_folder, stores
from vidseg.pipeline.batch.jobs import Job, JobsFile
from vidseg.pipeline.batch.remote_folder import RESUME_POINT, RemoteFolder
from vidseg.pipeline.batch.stage import TrackingStage
from vidseg.testing import FakeSession


@pytest.fixture
def in_memory() -> Iterator[str]:
    yield "memory://bucket"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> str:
    address: str = request.getfixturevalue({"memory": "in_memory", "s3": "s3"}[request.param])
    return address


def put(folder: Path, address: str) -> None:
    stores.upload([path for path in folder.rglob("*") if path.is_file()], folder, address)


def names(address: str) -> list[str]:
    return [name for name, _ in stores.list_files(address)]


def test_whole_run_on_a_store_is_as_on_a_disk(store: str, tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path / "jobs", {"a": 5, "b": 7})
    (tmp_path / "jobs/box.json").write_text(json.dumps(BOX))
    lines = [json.loads(line) for line in jobs.read_text().splitlines()]
    for line in lines:
        line |= {"prompt": "box.json", "tracker": "flow", "options": {}}
    jobs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    put(tmp_path / "jobs", f"{store}/in")
    call = ["--workers", "0", "--quiet", "--scratch", str(tmp_path / "scratch")]
    assert main(["batch", f"{store}/in/jobs.jsonl", "--out", f"{store}/out", *call]) == 0
    assert main(["batch", str(jobs), "--out", str(tmp_path / "out"), *call]) == 0
    stores.download(f"{store}/out", tmp_path / "fetched")
    for tar in list((tmp_path / "fetched").glob("*/masks.tar")):  # one object, for the store's sake
        shutil.unpack_archive(tar, tar.parent)
        tar.unlink()
    assert masks_of(tmp_path / "fetched") == masks_of(tmp_path / "out")
    assert files_below(tmp_path / "fetched") == files_below(tmp_path / "out")
    assert list((tmp_path / "scratch").iterdir()) == []
    assert main(["batch", f"{store}/in/jobs.jsonl", "--out", f"{store}/out", *call]) == 0
    assert json.loads(stores.read_bytes(f"{store}/out/summary.json"))["done_before"] == 2
    assert main(["batch", "status", f"{store}/out"]) == 0


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_folder_on_a_store_becomes_jobs(store: str, tmp_path: Path) -> None:
    make_jobs(tmp_path / "clips", {"a": 3})
    (tmp_path / "clips/a.json").write_text(json.dumps(BOX))
    put(tmp_path / "clips", f"{store}/clips")
    assert main(["batch", "make", f"{store}/clips", "--out", f"{store}/jobs.jsonl"]) == 0
    [line] = stores.read_bytes(f"{store}/jobs.jsonl").splitlines()
    assert json.loads(line)["video"] == f"{store}/clips/a.mp4".replace("memory:///", "memory://")


def test_job_cut_off_goes_on_from_the_state_on_the_store(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = next(iter(JobsFile(make_jobs(tmp_path / "jobs", {"clip": 14}))))[1]
    undisturbed = undisturbed_masks([job], tmp_path / "quiet")

    class Cut(BaseException):
        """As a kill: nothing of ours gets to tidy up."""

    step, send = FakeSession.step, RemoteFolder.send

    def cut(session: FakeSession, frame: Any) -> Any:
        if frame.index == 8:
            monkeypatch.setattr(RemoteFolder, "send", lambda self: None)
            raise Cut
        return step(session, frame)

    monkeypatch.setattr(FakeSession, "step", cut)
    monkeypatch.setattr(remote_folder, "SHARE_OF_TIME", float("inf"))  # every checkpoint is sent
    stage = TrackingStage(f"{store}/out", scratch=tmp_path / "scratch", send_every_s=0.0)
    stage.setup(job)
    with pytest.raises(Cut):
        stage.process(job)
    monkeypatch.setattr(FakeSession, "step", step)
    monkeypatch.setattr(RemoteFolder, "send", send)
    assert f"clip/{RESUME_POINT}" in names(f"{store}/out")
    assert json.loads(stores.read_bytes(f"{store}/out/clip/run.json"))["status"] == "running"

    elsewhere = TrackingStage(f"{store}/out", scratch=tmp_path / "elsewhere")
    elsewhere.setup(job)
    assert elsewhere.process(job).status == "done"
    calls = elsewhere._tracker[1].calls  # type: ignore[index, attr-defined]
    assert min(index for call, index in calls if call == "step") == 6
    stores.download(f"{store}/out", tmp_path / "fetched")
    assert masks_of(tmp_path / "fetched") == undisturbed
    assert not [name for name in names(f"{store}/out") if ".state" in name or ".part" in name]


def test_a_store_that_lets_nobody_delete_gets_whole_results(
    in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = next(iter(JobsFile(make_jobs(tmp_path / "jobs", {"clip": 14}))))[1]
    undisturbed = undisturbed_masks([job], tmp_path / "quiet")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "rm", refuse)
    monkeypatch.setattr(remote_folder, "SHARE_OF_TIME", float("inf"))  # every checkpoint is sent
    stage = TrackingStage(f"{in_memory}/out", scratch=tmp_path / "scratch", send_every_s=0.0)
    assert stage.process(job).status == "done"
    stores.download(f"{in_memory}/out", tmp_path / "fetched")
    assert masks_of(tmp_path / "fetched") == undisturbed
    assert any(".state" in name for name in names(f"{in_memory}/out"))
    assert stage.process(job).was_done_before


def test_results_on_a_store_stay_until_a_changed_job_has_others(in_memory: str, tmp_path: Path) -> None:
    job = next(iter(JobsFile(make_jobs(tmp_path / "jobs", {"clip": 5}))))[1]
    stage = TrackingStage(f"{in_memory}/out", scratch=tmp_path / "scratch")
    assert stage.process(job).status == "done"
    before = stores.list_files(f"{in_memory}/out")
    beside = {"box": [500, 500, 600, 600]}
    assert stage.process(replace(job, prompt=beside)).kind == "PromptError"
    assert stores.list_files(f"{in_memory}/out") == before
    assert stage.process(job).was_done_before
    fewer = job.options.model_copy(update={"formats": ["rle"]})
    assert stage.process(replace(job, options=fewer)).status == "done"
    assert names(f"{in_memory}/out") == ["clip/masklets.jsonl", "clip/run.json"]


def test_a_full_scratch_disk_is_not_told_as_a_store_out_of_reach(
    in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = next(iter(JobsFile(make_jobs(tmp_path / "jobs", {"clip": 3}))))[1]
    put(tmp_path / "jobs", f"{in_memory}/in")

    def fill(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", fill)
    stage = TrackingStage(str(tmp_path / "out"), scratch=tmp_path / "scratch")
    outcome = stage.process(replace(job, video=f"{in_memory}/in/clip.mp4"))
    assert (outcome.kind, outcome.may_pass) == ("RunError", True)
    assert "the disk is full" in (outcome.reason or "")


def test_a_second_driver_on_a_store_warns_of_the_first(in_memory: str, tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path / "jobs", {"a": 3})
    run = ["batch", str(jobs), "--out", f"{in_memory}/out", "--workers", "0"]
    assert not any("another run of jobs" in line for line in told_by(run))
    summary = json.loads(stores.read_bytes(f"{in_memory}/out/summary.json"))
    stores.write_whole(f"{in_memory}/out/summary.json", json.dumps(summary | {"status": "running"}).encode())
    assert any(f"another run of jobs writes to '{in_memory}/out'" in line for line in told_by(run))


def told_by(call: list[str]) -> list[str]:
    """What a command writes to standard error."""
    with redirect_stderr(StringIO()) as told:
        assert main(call) == 0
    return told.getvalue().splitlines()


def test_a_job_may_be_named_lock(in_memory: str, tmp_path: Path) -> None:
    job = next(iter(JobsFile(make_jobs(tmp_path / "jobs", {"lock": 3}))))[1]
    stage = TrackingStage(f"{in_memory}/out", scratch=tmp_path / "scratch")
    assert stage.process(job).status == "done"


def test_files_that_writers_are_busy_with_are_left_out(in_memory: str, tmp_path: Path) -> None:
    """A picture gets its name while the folder is looked at; a file that grows with the run is needed."""
    folder = RemoteFolder(f"{in_memory}/out", tmp_path, send_every_s=0.0)
    (tmp_path / "masks").mkdir()
    for name in (".masklets.jsonl.part", "masks/00000.png", "masks/00001.png.part"):
        (tmp_path / name).write_bytes(b"x")
    folder.send()
    assert names(f"{in_memory}/out") == [".masklets.jsonl.part", "masks/00000.png"]


def test_a_frame_without_a_new_resume_point_looks_at_no_other_file(
    in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RemoteFolder(f"{in_memory}/out", tmp_path, send_every_s=0.0)
    monkeypatch.setattr(RemoteFolder, "send", lambda self: pytest.fail("nothing is to be sent"))
    monkeypatch.setattr(RemoteFolder, "_listed", lambda self: pytest.fail("writers are busy here"))
    folder.advance()


def test_masks_of_prompts_are_brought_too(in_memory: str, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    job = next(iter(JobsFile(make_jobs(tmp_path / "jobs", {"clip": 4}))))[1]
    mask = np.zeros((48, 64), np.uint8)
    mask[20:40, 20:40] = 1
    Image.fromarray(mask).save(tmp_path / "m.png")
    stores.write_whole(f"{in_memory}/p/m.png", (tmp_path / "m.png").read_bytes())
    stores.write_whole(f"{in_memory}/p/prompt.json", b'{"mask": "m.png"}')
    fields = {"video": job.video, "options": job.options}
    for job_id, prompt in {
        "file": f"{in_memory}/p/prompt.json",
        "line": {"mask": f"{in_memory}/p/m.png"},
    }.items():
        stage = TrackingStage(str(tmp_path / "out"), scratch=tmp_path / "scratch")
        assert stage.process(Job(id=job_id, prompt=prompt, **fields)).status == "done"  # type: ignore[arg-type]
    assert len({path.read_bytes() for path in (tmp_path / "out").glob("*/masklets.jsonl")}) == 1


def test_missing_things_are_told_apart_from_stores_that_do_not_answer(
    in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(id="a", video=f"{in_memory}/none.mp4", prompt=BOX)
    outcome = TrackingStage(str(tmp_path / "out"), scratch=tmp_path / "s").process(job)
    assert (outcome.kind, outcome.may_pass) == ("SourceError", False)
    assert "none.mp4" in (outcome.reason or "")

    def no_answer(*args: Any, **kwargs: Any) -> None:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "isdir", no_answer)
    outcome = TrackingStage(str(tmp_path / "out"), scratch=tmp_path / "s").process(job)
    assert (outcome.kind, outcome.may_pass) == ("StoreError", True)


class NoCredentialsError(Exception):
    """Stands for the error of botocore that has this name, by which it is known."""


def test_what_a_store_or_its_client_lacks_is_told(
    in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(id="a", video=f"{in_memory}/a.mp4", prompt=BOX)
    stage = TrackingStage(str(tmp_path / "out"), scratch=tmp_path / "s")

    def lack(error: Exception) -> Any:
        def isdir(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(type(fsspec.filesystem("memory")), "isdir", isdir)
        return stage.process(job)

    assert lack(NoCredentialsError("none found")).hint == "give the store's client its credentials"
    assert lack(MemoryError()).ran_out_of_memory


def test_addresses_join_and_resolve() -> None:
    assert stores.join("s3://b/out", "a", "run.json") == "s3://b/out/a/run.json"
    assert stores.join("out", "a") == "out/a"
    assert stores.resolve("c.mp4", "s3://b/in") == "s3://b/in/c.mp4"
    assert stores.resolve("/c.mp4", "/in") == "/c.mp4"
    assert stores.resolve("gs://x/c.mp4", "/in") == "gs://x/c.mp4"
    assert stores.local_path("file:///a%20b.mp4") == Path("/a b.mp4")
    with pytest.raises(ConfigError, match="no store"):
        stores.check_address("nostore://x")
    with pytest.raises(SourceError, match="there is no"):
        stores.read_bytes("memory://none/none")


def test_a_folder_named_like_a_pattern_is_not_taken_for_one(store: str, tmp_path: Path) -> None:
    job = next(iter(JobsFile(make_jobs(tmp_path / "jobs", {"clip": 3}))))[1]
    changed = Job(id=job.id, video=job.video, prompt={"box": [5, 5, 20, 20]}, options=job.options)
    for out, what in (("run1", job), ("run[1]", job), ("run[1]", changed)):
        assert TrackingStage(f"{store}/{out}", scratch=tmp_path).process(what).status == "done"
    assert names(f"{store}/run1") == names(f"{store}/run[1]") != []
    stage = TrackingStage(f"{store}/run1", scratch=tmp_path)
    assert stage.process(job).was_done_before
    stores.remove(f"{store}/run[1]/clip/run.json")
    stores.remove(f"{store}/run[1]")
    assert names(f"{store}/run[1]") == []
    assert stage.process(job).was_done_before


def test_store_that_shows_half_files_gets_them_under_another_name_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_PUTS_WHOLE", set[str]())
    seen: list[str] = []
    fs = fsspec.filesystem("memory")
    put_file = type(fs).put_file
    monkeypatch.setattr(
        type(fs), "put_file", lambda s, a, b, **k: (seen.append(b), put_file(s, a, b, **k))[1]
    )
    (tmp_path / "f.txt").write_text("whole")
    stores.upload([tmp_path / "f.txt"], tmp_path, "memory://half/x")
    stores.write_whole("memory://half/g.txt", b"whole")
    assert [name.endswith(".part") for name in seen] == [True]
    assert names("memory://half") == ["g.txt", "x/f.txt"]
    fs.store.clear()
