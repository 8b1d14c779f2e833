"""`vidseg track --discover`: objects are found and followed, runs are resumed, prompts come first."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import vidseg
from support.held_run import held_run
from support.two_disks import FRAMES, best, lines, picture, write_clip
from vidseg.cli import main
from vidseg.errors import PromptError
from vidseg.pipeline.discovery_options import DiscoveryOptions
from vidseg.trackers.contract import Frame
from vidseg.trackers.discovery.discovery import Discovery
from vidseg.trackers.engine import Engine

LOOK = ("--discover", "--every", "8", "--set", "points_per_side=5", "--quiet")
QUICK = {"every": 8, "sampling": {"points_per_side": 5}, "discover_with": "vidseg-nano"}
"""The same in Python, for a quick tracker that has no model to find objects with."""
SAVING = ("--format", "png,rle", "--save-every", "5", *LOOK)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("discover") / "clip")


Encoded = list[tuple[int, tuple[int, int]]]
"""The index and size of each picture that was encoded."""


@pytest.fixture(scope="module")
def run(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Encoded]:
    """A whole run, and what it encoded."""
    out = tmp_path_factory.mktemp("whole")
    encoded: Encoded = []
    encode = Engine.encode

    def note(self: Engine, frame: Frame) -> Any:
        encoded.append((frame.index, frame.size_hw))
        return encode(self, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "encode", note)
        assert main(["track", str(clip), "--out", str(out), *SAVING]) == 0
    return out, encoded


def test_objects_are_found_as_they_come(run: tuple[Path, Encoded]) -> None:
    out, encoded = run
    whole = max(size for _, size in encoded)
    seen_whole = [index for index, size in encoded if size == whole]
    assert len(set(seen_whole)) == len(seen_whole), (
        "no picture is encoded twice, although two ask for its features"
    )
    assert set(range(0, FRAMES, 8)) <= set(seen_whole), "objects are sought on the whole picture"
    assert {index for index, _ in encoded} == set(range(FRAMES))
    written = lines(out)
    assert len(written) == FRAMES
    assert written[0]["objects"] == [], "what was found is tentative at first"
    (red, red_id), (blue, blue_id) = (best(written[-1]["objects"], mask) for mask in picture(FRAMES - 1)[1])
    assert red > 0.7
    assert blue > 0.7
    assert red_id < blue_id, "in the order of coming"
    assert best(written[10]["objects"], picture(10)[1][0])[1] == red_id
    record = json.loads((out / "run.json").read_text())
    assert {red_id, blue_id} <= set(record["objects"])
    assert record["options"]["discover"]["every"] == 8


def test_a_killed_run_goes_on_to_the_same_files(
    run: tuple[Path, Encoded], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = run[0], tmp_path / "cut"
    call = ["track", str(clip), *SAVING, "--out", str(cut)]
    step = Discovery.step

    def step_until_killed(self: Any, session: Any, frame: Any) -> Any:
        if frame.index == 13:  # between two looks, with an object that is still tentative
            raise KeyboardInterrupt
        return step(self, session, frame)

    monkeypatch.setattr(Discovery, "step", step_until_killed)
    assert main(call) == 130
    monkeypatch.setattr(Discovery, "step", step)
    assert main([*call, "--every", "9", "--resume"]) == 2, "another run"
    assert main([*call, "--resume"]) == 0
    for path in whole.rglob("*.*"):
        if path.name != "run.json":
            assert path.read_bytes() == (cut / path.relative_to(whole)).read_bytes()
    records = [json.loads((out / "run.json").read_text()) for out in (whole, cut)]
    assert set(records[0]["objects"]) == set(records[1]["objects"])


@pytest.mark.slow
def test_after_kill_9_a_run_goes_on_to_the_same_files(clip: Path, tmp_path: Path) -> None:
    call = ["track", str(clip), "--save-every", "3", "--format", "png,rle", *LOOK, "--out"]
    never = tmp_path / "never"
    process = subprocess.Popen(held_run([*call, str(tmp_path / "cut")], Discovery, FRAMES - 1, never))
    while len(list((tmp_path / "cut").glob("masks/*.png"))) < 11 and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was killed before it was done"
    assert main([*call, str(tmp_path / "cut"), "--resume"]) == 0
    assert main([*call, str(tmp_path / "whole")]) == 0
    for path in (tmp_path / "whole").rglob("*.*"):
        if path.name != "run.json":
            assert path.read_bytes() == (tmp_path / "cut" / path.relative_to(tmp_path / "whole")).read_bytes()
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("whole", "cut")]
    assert set(records[0]["objects"]) == set(records[1]["objects"])
    assert records[1]["resumed"] == 1


def test_prompted_objects_come_first(clip: Path, tmp_path: Path) -> None:
    summary = vidseg.track(
        clip,
        {"objects": [{"id": 5, "prompts": [{"frame": 0, "box": [14, 10, 46, 42]}]}]},
        tracker="flow",
        out=tmp_path,
        formats=["rle"],
        discover=QUICK,
    )
    assert summary.obj_ids[0] == 5
    assert min(summary.obj_ids[1:]) > 5
    for line in lines(tmp_path):
        iou, obj_id = best(line["objects"], picture(line["frame"])[1][0])
        assert (iou > 0.7, obj_id) == (True, 5)


def test_another_model_finds_for_a_tracker_without_one(clip: Path, tmp_path: Path) -> None:
    call = ["track", str(clip), "--tracker", "flow", "--out", str(tmp_path), "--format", "rle", *LOOK]
    assert main(call) == 2
    assert main([*call, "--discover-with", "vidseg-nano"]) == 0
    iou, _ = best(lines(tmp_path)[-1]["objects"], picture(FRAMES - 1)[1][0])
    assert iou > 0.7


def test_batch_jobs_discover(clip: Path, tmp_path: Path) -> None:
    job = {"video": str(clip), "tracker": "flow"}
    jobs = [{**job, "id": "a", "options": {"discover": QUICK, "formats": ["rle"]}}, {**job, "id": "b"}]
    for count, code in ((1, 0), (2, 2)):
        (tmp_path / "jobs.jsonl").write_text("\n".join(json.dumps(job) for job in jobs[:count]))
        assert (
            main(["batch", str(tmp_path / "jobs.jsonl"), "--out", str(tmp_path / "out"), "--workers", "0"])
            == code
        )
    iou, _ = best(lines(tmp_path / "out" / "a")[-1]["objects"], picture(FRAMES - 1)[1][0])
    assert iou > 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing says what to follow"),
        (["--every", "5", "--box", "1,1,9,9"], "--every is about discovery"),
        (["--discover", "--every", "0"], "every"),
        (["--discover", "--direction", "both"], "--discover goes forward alone"),
        (["--discover", "--sampler", "gird"], "did you mean 'grid'"),
        (["--discover", "--sampler", "peaks"], "was given no weights"),
        (["--discover", "--sampler", "peaks", "--set", "weights=no.file"], "'no.file' cannot be read"),
    ],
)
def test_wrong_calls_are_told(
    arguments: list[str], message: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["track", str(clip), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_weights_of_a_sampler_are_part_of_a_run(tmp_path: Path) -> None:
    head = tmp_path / "head.safetensors"
    options = DiscoveryOptions(sampler="peaks", sampling={"weights": head})
    head.write_bytes(b"trained once")
    first = options.document()
    assert json.loads(json.dumps(first))["sampling"]["weights"] == "head.safetensors"
    head.write_bytes(b"trained anew")
    assert options.document() != first


def test_python_needs_prompts_or_discovery(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="nothing says what to follow"):
        vidseg.track(clip, out=tmp_path / "out")
