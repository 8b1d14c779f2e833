"""A package of plug-ins, installed into a fresh virtual environment, is used by name in every command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from support.hard_videos import picture
from support.plugin_venv import PACKAGE, make_venv, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NUM_FRAMES = 4
SMALL = ("--image-size", "64", "--allow-random-weights", "--device", "cpu")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_venv(tmp_path_factory.mktemp("plugins") / "venv")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of the package: two clips of a box that stands still."""
    root = tmp_path_factory.mktemp("clips")
    label_map = np.zeros((48, 64), np.uint8)
    label_map[10:30, 10:30] = 1
    shown = picture(0, (48, 64))
    shown[label_map > 0] = (200, 60, 40)
    for name in ("cat", "dog"):
        for kind in ("frames", "masks"):
            (root / name / kind).mkdir(parents=True)
        for index in range(NUM_FRAMES):
            Image.fromarray(shown).save(root / name / f"frames/{index}.png")
            Image.fromarray(label_map).save(root / name / f"masks/{index}.png")
    return root


def vidseg(python: Path, *call: str, cwd: Path) -> str:
    """What a command prints; it has to end well."""
    done = run(python, "-m", "vidseg", *call, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_models_and_help_list_what_the_package_adds(python: Path, tmp_path: Path) -> None:
    rows = {row["name"]: row for row in json.loads(vidseg(python, "models", "--json", cwd=tmp_path))}
    assert rows["outside-tinyvit"]["image_size"] == 512
    assert "outside-clips" in vidseg(python, "eval", "--help", cwd=tmp_path)
    assert "outside-iou" in vidseg(python, "score", "--help", cwd=tmp_path)
    assert "outside-areas" in vidseg(python, "convert", "--help", cwd=tmp_path)


def test_track_takes_a_backbone_a_policy_and_a_format_by_name(
    python: Path, clips: Path, tmp_path: Path
) -> None:
    config = {"kind": "engine", "backbone": {"name": "outside-tinyvit"}, "bank": {"name": "outside-newest"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    prompt = '{"box": [10, 10, 30, 30]}'
    (tmp_path / "box.json").write_text(prompt)
    call = ["track", str(clips / "cat/frames"), "--prompt", "box.json", "--out", "out", *SMALL]
    vidseg(python, *call, "--tracker", "mine.yaml", "--format", "rle,outside-areas", cwd=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "out/masklets.jsonl").read_text().splitlines()]
    areas = [f"{line['frame']},1,{of['area']}" for line in lines for of in line["objects"] if of["area"]]
    assert len(lines) == NUM_FRAMES
    assert (tmp_path / "out/masklets.areas.csv").read_text().splitlines() == areas


def test_batch_takes_them_on_two_ray_workers(python: Path, clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    jobs = [
        {
            "id": f"{name}-{tracker}",
            "video": str(clips / name / "frames"),
            "prompt": {"box": [10, 10, 30, 30]},
            "tracker": tracker,
        }
        for tracker in ("outside-tinyvit", "outside-coarse-flow")
        for name in ("cat", "dog")
    ]
    options = {"image_size": 64, "allow_random_weights": True, "device": "cpu"}
    for job in jobs[:2]:
        job["options"] = options
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    call = ["batch", "jobs.jsonl", "--out", "runs", "--workers", "2", "--json"]
    told = vidseg(python, *call, "--format", "rle,outside-areas", cwd=tmp_path)
    assert json.loads(told)["done"] == len(jobs)
    assert len(list(tmp_path.glob("runs/*/masklets.areas.csv"))) == len(jobs)


def test_eval_takes_the_data_set_and_its_protocol(python: Path, clips: Path, tmp_path: Path) -> None:
    call = ["eval", "outside-clips", "--root", str(clips), "--out", "out", "--json"]
    results = json.loads(vidseg(python, *call, "--tracker", "outside-coarse-flow", cwd=tmp_path))
    assert results["protocol"] == "outside-iou"
    assert results["score"] == pytest.approx(100 * results["global"]["IoU"])
    assert results["score"] > 50  # the box stands still
    assert "IoU over time" in (tmp_path / "out/report.html").read_text()
    told = vidseg(
        python,
        *("score", "outside-iou", "--gt", str(clips), "--pred", "out/masks", "--workers", "2", "--json", "-"),
        cwd=tmp_path,
    )
    assert json.loads(told)["global"] == results["global"]


def test_bench_measures_the_tracker_in_a_process_of_its_own(python: Path, tmp_path: Path) -> None:
    call = ["bench", "--tracker", "outside-tinyvit", "--frames", "2", "--warm-up", "1", "--size", "96x64"]
    (row,) = json.loads(vidseg(python, *call, *SMALL, "--json", cwd=tmp_path))["trackers"]
    assert row["name"] == "outside-tinyvit"
    assert row["parameters"] > 5e6


def test_train_trains_the_backbone_and_track_takes_the_weights(
    python: Path, clips: Path, tmp_path: Path
) -> None:
    config = {
        "tracker": "outside-tinyvit",
        "steps": 1,
        "batch": 1,
        "device": "cpu",
        "workers": 1,
        "data": {"size": 64, "num_frames": 2},
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    record = json.loads(vidseg(python, "train", "train.yaml", "--out", "run", "--json", cwd=tmp_path))
    assert record["steps_done"] == 1
    (tmp_path / "box.json").write_text('{"box": [10, 10, 30, 30]}')
    call = ["track", str(clips / "cat/frames"), "--prompt", "box.json", "--format", "rle", "--device", "cpu"]
    call += ["--tracker", "outside-tinyvit", "--weights", record["weights"], "--image-size", "64"]
    assert "4 frames" in vidseg(python, *call, cwd=tmp_path)


def test_the_package_tests_its_parts_by_the_contracts(python: Path, tmp_path: Path) -> None:
    done = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PACKAGE / "tests"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
