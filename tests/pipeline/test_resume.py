"""Runs that end early, however they end, and go on to the same bytes."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import vidseg
from support.hard_videos import encode, numbered, picture, truncated, with_broken_packet
from support.held_run import held_run
from support.trackers import fake_yaml
from vidseg import cli
from vidseg.errors import DecodeError, OutputBusyError, OutputError, RunError
from vidseg.pipeline.execution import Execution
from vidseg.pipeline.made_video import MadeVideo
from vidseg.pipeline.out_folder import OutFolder
from vidseg.pipeline.outlet import Outlet
from vidseg.pipeline.run import TrackSummary
from vidseg.testing import FakeSession, FakeTracker
from vidseg.trackers.contract import Frame, FrameResult

FRAMES = 14
PROMPTS = {
    "objects": [
        {"id": 1, "prompts": [{"frame": 4, "box": [20, 20, 40, 40]}, {"frame": 9, "box": [30, 20, 50, 40]}]},
        {"id": 2, "prompts": [{"frame": 7, "points": [[50, 30]]}]},
    ]
}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered(tmp_path_factory.mktemp("videos") / "clip.mp4", FRAMES, options={"g": "5"})


def track(video: Any, out: Path, **more: Any) -> TrackSummary:
    more = {"tracker": FakeTracker(), "formats": ("png", "rle"), "save_every": 3, "prompts": PROMPTS, **more}
    return vidseg.track(video, out=out, **more)


def masks_of(out: Path) -> dict[str, bytes]:
    """Every byte of the masks: the label maps and the run-length codes."""
    files = [*sorted((out / "masks").iterdir()), out / "masklets.jsonl"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def frames_of_overlay(out: Path) -> int:
    with av.open(out / "overlay.mp4") as overlay:
        return sum(1 for _ in overlay.decode(video=0))


class Interrupted(FakeTracker):
    """Ctrl-C in the middle of a step."""

    def __init__(self, after_calls: int) -> None:
        super().__init__()
        self.after_calls = after_calls

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FakeSession:
        session = super().start(num_frames, reverse)
        step = session.step

        def interrupted(frame: Frame) -> FrameResult:
            if len(self.calls) >= self.after_calls:
                raise KeyboardInterrupt
            return step(frame)

        session.step = interrupted  # type: ignore[method-assign]
        return session


class Snapshots:
    """Copies of the output folder as a kill would have left it: before every file takes its final name."""

    def __init__(self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = out
        self.folder = folder
        self.taken: list[Path] = []
        self._lock = threading.Lock()
        self._replace = os.replace
        monkeypatch.setattr(os, "replace", self._snap_and_replace)

    def _snap_and_replace(self, source: Any, target: Any) -> None:
        with self._lock:
            if self.out in Path(target).parents:
                copy = self.folder / f"{len(self.taken):03d}"
                shutil.copytree(self.out, copy)
                self.taken.append(copy)
            self._replace(source, target)


@pytest.mark.parametrize("direction", ["forward", pytest.param("backward", marks=pytest.mark.slow), "both"])
def test_run_killed_at_any_moment_ends_with_the_same_bytes(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    with monkeypatch.context() as patch:
        snapshots = Snapshots(tmp_path / "whole", tmp_path / "snapshots", patch)
        track(video, tmp_path / "whole", direction=direction)
    whole = masks_of(tmp_path / "whole")
    assert len(snapshots.taken) > FRAMES + 10  # each label map, and what belongs to the checkpoints
    for snapshot in snapshots.taken:
        resumed = track(video, snapshot, direction=direction, resume=True)
        assert resumed.status == "done"
        assert masks_of(snapshot) == whole, snapshot
        assert sorted(path.name for path in snapshot.iterdir()) == ["masklets.jsonl", "masks", "run.json"]


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_run_stopped_after_any_frame_goes_on_from_there(video: Path, tmp_path: Path, direction: str) -> None:
    track(video, tmp_path / "whole", direction=direction)
    whole = masks_of(tmp_path / "whole")
    for calls in range(1, 10, 2):
        out = tmp_path / str(calls)
        with pytest.raises(KeyboardInterrupt):
            track(video, out, direction=direction, tracker=Interrupted(after_calls=calls))
        if out.exists():
            assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
        track(video, out, direction=direction, resume=True)
        assert masks_of(out) == whole


def test_resumed_run_does_not_track_again_what_was_saved(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        track(video, tmp_path, tracker=FakeTracker(fails_on=13), save_every=6)
    again = FakeTracker()
    track(video, tmp_path, tracker=again, save_every=6, resume=True)
    assert again.calls == [("step", k) for k in range(12, FRAMES)]
    assert json.loads((tmp_path / "run.json").read_text())["resumed"] == 1


def test_overlay_of_a_resumed_run_is_whole(video: Path, tmp_path: Path) -> None:
    formats = ("png", "rle", "overlay")
    with pytest.raises(ZeroDivisionError):
        track(video, tmp_path, tracker=FakeTracker(fails_on=13), formats=formats)
    assert frames_of_overlay(tmp_path) == 13
    summary = track(video, tmp_path, formats=formats, resume=True)
    assert tmp_path / "overlay.mp4" in summary.outputs
    assert frames_of_overlay(tmp_path) == FRAMES


def test_resume_of_a_done_run_says_so_and_leaves_it(video: Path, tmp_path: Path) -> None:
    done = track(video, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = track(video, tmp_path, resume=True)
    assert again.was_done_before
    assert again.frames_done == done.frames_done
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "run.json")


def test_a_run_killed_while_it_replaced_another_one_leaves_nothing_of_that_when_it_goes_on(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = numbered(tmp_path / "longer.mp4", FRAMES + 3)
    out = tmp_path / "out"
    track(longer, out, formats=("png", "rle", "overlay", "mot"))
    (out / "masks" / "mine.txt").touch()

    def die(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(OutFolder, "remove_outputs", die)
        patch.setattr(Execution, "_end", die)
        with pytest.raises(ZeroDivisionError):
            track(video, out, overwrite=True)
    track(video, out, resume=True)
    assert sorted(path.name for path in out.iterdir()) == ["masklets.jsonl", "masks", "run.json"]
    assert sorted(path.name for path in (out / "masks").iterdir()) == [
        *(f"{number:05d}.png" for number in range(FRAMES)),
        "mine.txt",
    ]


@pytest.mark.parametrize(
    ("again", "status"), [("resume", "running"), ("overwrite", "running"), ("overwrite", "done")]
)
def test_a_run_that_a_full_disk_ends_at_once_leaves_the_record_of_the_one_before(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str, status: str
) -> None:
    out = tmp_path / "out"
    track(video, out, save_every=0)
    record = {**json.loads((out / "run.json").read_text()), "status": status}
    (out / "run.json").write_text(json.dumps(record))
    with monkeypatch.context() as patch:
        patch.setattr("vidseg.pipeline.run_record.write_json", full_disk)
        with pytest.raises(RunError, match="the disk is full"):
            track(video, out, **{again: True})
    assert json.loads((out / "run.json").read_text()) == record
    assert track(video, out, **{again: True}).status == "done"
    track(video, tmp_path / "quiet")
    assert masks_of(out) == masks_of(tmp_path / "quiet")


def test_a_run_whose_end_cannot_be_recorded_is_not_called_done(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Outlet.finish

    def finish_and_fill(outlet: Outlet, *, keep_broken: bool) -> list[Path]:
        patch.setattr("vidseg.pipeline.run_record.write_json", full_disk)
        return finish(outlet, keep_broken=keep_broken)

    with monkeypatch.context() as patch:
        patch.setattr(Outlet, "finish", finish_and_fill)
        with pytest.raises(RunError, match="the disk is full: the run's state"):
            track(video, tmp_path / "out")
    assert json.loads((tmp_path / "out/run.json").read_text())["status"] == "running"
    assert track(video, tmp_path / "out", resume=True).status == "done"
    track(video, tmp_path / "quiet")
    assert masks_of(tmp_path / "out") == masks_of(tmp_path / "quiet")


def test_resume_of_nothing_is_a_new_run(video: Path, tmp_path: Path) -> None:
    assert track(video, tmp_path / "new", resume=True).frames_done == FRAMES


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prompts": {"box": [1, 2, 30, 40]}}, "in prompts"),
        ({"tracker": FakeTracker("other")}, "in tracker (fake, now other)"),
        ({"direction": "both"}, "direction (forward, now both)"),
        ({"end": 9, "prompts": {"box": [1, 2, 30, 40]}}, "prompts, end (None, now 9)"),
        ({"formats": ("png",)}, "formats (png,rle, now png)"),
    ],
)
def test_resume_of_another_run_says_what_differs(
    video: Path, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ZeroDivisionError):
        track(video, tmp_path, tracker=FakeTracker(fails_on=13))
    before = sorted(path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file())
    with pytest.raises(OutputError) as caught:
        track(video, tmp_path, resume=True, **change)
    assert told in str(caught.value)
    assert sorted(path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()) == before


def test_a_resumed_run_keeps_what_the_first_try_was_warned_of(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        track(video, tmp_path, tracker=FakeTracker(fails_on=13))
    record = json.loads((tmp_path / "run.json").read_text())
    record |= {"warnings": ["an odd joint"], "review_left_out": 5}
    record["versions"]["vidseg"] = "0.0.1"
    (tmp_path / "run.json").write_text(json.dumps(record))
    remark = f"the run was begun by vidseg 0.0.1; this is {vidseg.__version__}"
    with pytest.warns(UserWarning, match=re.escape(remark)):
        assert track(video, tmp_path, resume=True).warnings == [remark]
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["warnings"] == ["an odd joint", remark]
    assert record["review_left_out"] == 5


def test_resume_without_the_discovery_of_the_first_try_is_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        track(video, tmp_path, tracker=FakeTracker(fails_on=13))
    record = json.loads((tmp_path / "run.json").read_text())
    record["options"]["discover"] = {"every": 15}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match=r"discover \(\{'every': 15\}, now None\)"):
        track(video, tmp_path, resume=True)


def test_a_run_among_the_frames_of_its_source_goes_on(tmp_path: Path) -> None:
    for number in range(FRAMES):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    with pytest.raises(ZeroDivisionError):
        track(tmp_path, tmp_path, tracker=FakeTracker(fails_on=13))
    (tmp_path / "Thumbs.db").touch()
    assert track(tmp_path, tmp_path, resume=True).frames_done == FRAMES


class OvertakenTracker(FakeTracker):
    """A tracker that is so long in coming that another run in the folder begins and ends meanwhile."""

    def __init__(self, overtake: Callable[[], object]) -> None:
        super().__init__()
        self._overtake = overtake

    def describe(self) -> Mapping[str, Any]:
        self._overtake()
        return super().describe()


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_another_one_overtook_in_its_folder_leaves_its_results(
    video: Path, tmp_path: Path, resume: bool
) -> None:
    if resume:
        with pytest.raises(ZeroDivisionError):
            track(video, tmp_path, tracker=FakeTracker(fails_on=13))
    overtaken = OvertakenTracker(lambda: track(video, tmp_path, resume=resume))
    with pytest.raises(OutputBusyError, match="another run"):
        track(video, tmp_path, tracker=overtaken, resume=resume, prompts=PROMPTS)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "done"
    assert pngs(tmp_path) == FRAMES
    assert not (tmp_path / ".state").exists()


def test_resume_knows_its_source_by_content_not_by_name(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError):
        track(video, out, tracker=FakeTracker(fails_on=13))
    other = numbered(tmp_path / "clip.mp4", FRAMES, options={"g": "4"})
    with pytest.raises(OutputError, match="in source"):
        track(other, out, resume=True)
    moved = tmp_path / "moved.mp4"
    shutil.copy(video, moved)
    assert track(moved, out, resume=True).status == "done"


def test_resume_knows_arrays_by_their_ends(tmp_path: Path) -> None:
    pictures = [picture(number) for number in range(FRAMES)]
    with pytest.raises(ZeroDivisionError):
        track(pictures, tmp_path, tracker=FakeTracker(fails_on=13))
    for other in (pictures[:-1], [*pictures[:-1], picture(0)], [picture(1), *pictures[1:]]):
        with pytest.raises(OutputError, match="in source"):
            track(other, tmp_path, resume=True)
    assert track(np.stack(pictures), tmp_path, resume=True).status == "done"


def test_outputs_that_were_tampered_with_are_noticed(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        track(video, tmp_path, tracker=FakeTracker(fails_on=13))
    (tmp_path / "masks" / "00002.png").unlink()
    with pytest.raises(OutputError, match="of 12 frames that were done, png has 11"):
        track(video, tmp_path, resume=True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"frame": 3}', '{"session_file": "none.safetensors"}'])
def test_damaged_state_is_noticed(video: Path, tmp_path: Path, content: str) -> None:
    with pytest.raises(ZeroDivisionError):
        track(video, tmp_path, tracker=FakeTracker(fails_on=13))
    (tmp_path / ".state" / "checkpoint.json").write_text(content)
    with pytest.raises(OutputError, match="saved state"):
        track(video, tmp_path, resume=True)


def test_a_run_killed_where_its_video_breaks_is_ended_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = numbered(tmp_path / "whole.mkv", 40, options={"g": "5"})
    cut, out = tmp_path / "cut.mkv", tmp_path / "out"
    truncated(whole, cut)

    def die(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Execution, "_end", die)
    with pytest.raises(ZeroDivisionError):
        track(cut, out, save_every=1)
    monkeypatch.undo()
    with pytest.raises(DecodeError):
        track(cut, out, save_every=1, resume=True)
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "partial"
    assert record["frames_done"] == pngs(out) > 10
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize(
    ("direction", "broken", "fails_on"), [("forward", 2, 13), ("backward", 8, 3), ("both", 2, 13)]
)
def test_a_run_that_goes_on_behind_damage_numbers_frames_and_ends_as_one_left_alone(
    tmp_path: Path, direction: str, broken: int, fails_on: int
) -> None:
    whole = numbered(tmp_path / "whole.mp4", FRAMES + 4, options={"g": "1", "bf": "0"})
    damaged = with_broken_packet(whole, tmp_path / "damaged.mp4", broken)
    alone, resumed = tmp_path / "alone", tmp_path / "resumed"
    with pytest.raises(DecodeError) as expected:
        track(damaged, alone, direction=direction)
    with pytest.raises(ZeroDivisionError):
        track(damaged, resumed, direction=direction, tracker=FakeTracker(fails_on=fails_on))
    with pytest.raises(DecodeError) as told:
        track(damaged, resumed, direction=direction, resume=True)
    assert str(told.value) == str(expected.value)
    assert masks_of(resumed) == masks_of(alone)
    records = [json.loads((out / "run.json").read_text()) for out in (alone, resumed)]
    assert [(r["status"], r["frames_done"]) for r in records] == 2 * [("partial", FRAMES + 3)]


def command(video: Path, out: Path, prompts: Path, tracker: Path, *more: str) -> list[str]:
    return [
        *("track", str(video), "--out", str(out)),
        *("--prompt", str(prompts), "--tracker", str(tracker), "--save-every", "3", *more),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(PROMPTS))
    return path


def pngs(out: Path) -> int:
    return len(list((out / "masks").glob("*.png")))


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_weight_free_run_killed_again_and_again_ends_with_the_same_bytes(
    tmp_path: Path, direction: str
) -> None:
    """`kill -9` of the whole process, while frames are being written."""
    num_frames, prompted = 60, 0 if direction == "forward" else 25
    made = list(MadeVideo(num_frames=num_frames, size_hw=(120, 214)))
    clip = encode(tmp_path / "clip.mp4", (frame.image for frame, _ in made if frame.image is not None))
    y, x = np.argwhere(made[prompted][1] == 1).mean(0)  # of the star
    prompt = {"frame": prompted, "points": [[x, y]]}
    (tmp_path / "prompts.json").write_text(json.dumps({"objects": [{"id": 1, "prompts": [prompt]}]}))

    def call(out: str, *more: str) -> list[str]:
        options = ["--tracker", "flow", "--direction", direction, "--save-every", "7", "--quiet", *more]
        files = [str(clip), "--prompt", str(tmp_path / "prompts.json"), "--out", str(tmp_path / out)]
        return ["track", *files, *options]

    assert cli.main(call("whole")) == 0
    lines = (tmp_path / "whole" / "masklets.jsonl").read_text().splitlines()
    assert all(json.loads(line)["objects"][0]["area"] > 100 for line in lines)
    out, moments, killed = tmp_path / "out", random.Random(direction), 0
    while killed < 3:
        wanted = moments.randint(15 * killed + 1, 15 * killed + 15)
        command = [sys.executable, "-m", "vidseg", *call("out", "--resume")]
        process = subprocess.Popen(command, env=environment())
        while pngs(out) < wanted and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.wait()
        if pngs(out) < num_frames:
            killed += 1
        else:  # this process was kept from running meanwhile; begin again
            shutil.rmtree(out)
            killed = 0
    assert cli.main(call("out", "--resume")) == 0
    assert masks_of(out) == masks_of(tmp_path / "whole")
    assert frames_of_overlay(out) == num_frames
    assert not (out / ".state").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_signal_leaves_valid_files_that_resume_completes(
    video: Path, tmp_path: Path, prompt_file: Path, number: signal.Signals
) -> None:
    fake = fake_yaml(tmp_path)
    out, gate = tmp_path / "out", tmp_path / "gate"
    call = command(video, out, prompt_file, fake)
    process = subprocess.Popen(
        held_run([*call, "--json"], FakeSession, 9, gate),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "gate-reached").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    gate.touch()  # the frame at which it waits is finished first
    printed, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(complaint.splitlines()) == 1
    assert "--resume" in complaint
    summary = json.loads(printed)
    assert summary["status"] == "interrupted"
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    done = summary["frames_done"]
    assert done == 10
    assert len(list((out / "masks").glob("*.png"))) == done
    assert len((out / "masklets.jsonl").read_text().splitlines()) == done
    assert frames_of_overlay(out) == done

    track(video, tmp_path / "whole")
    assert cli.main([*call, "--resume", "--quiet"]) == 0
    assert masks_of(out) == masks_of(tmp_path / "whole")
    assert frames_of_overlay(out) == FRAMES
