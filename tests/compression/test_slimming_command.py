"""`vidseg compress --prune`: a model like any other comes out whole, or nothing does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import vidseg
from support.image_models import write_pictures
from support.trackers import NARROW_TRACKER
from vidseg import cli
from vidseg.compression.slimming.parts import slimmable
from vidseg.compression.source import Source
from vidseg.trackers.options import TrackerOptions

SAM_VIT = {"name": "sam-vit", "channels": 16, "heads": 2, "depth": 2, "global_blocks": [1], "mlp": 32}
IMAGE_MODEL = {"kind": "image", "family": "sam", "image_size": 64, "backbone": {**SAM_VIT, "grid": 4}}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", 3)


def written(tmp_path: Path, config: dict[str, object]) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def call_for(model: Path | str, pictures: Path, out: Path) -> list[str]:
    call = ["compress", str(model), "--calibrate", str(pictures), "--out", str(out), "--device", "cpu"]
    return [*call, "--allow-random-weights", "--epochs", "1"]


def test_a_slimmed_image_model_loads_like_any_other(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "slim"
    model = written(tmp_path, IMAGE_MODEL)
    assert cli.main([*call_for(model, pictures, out), "--prune", "0.5", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    document = yaml.safe_load((out / "tracker.yaml").read_text(encoding="utf-8"))
    assert document["backbone"] == {**IMAGE_MODEL["backbone"], "channels": 8, "attention": 8, "mlp": 16}  # type: ignore[dict-item]
    assert json.loads((out / "slimming.json").read_text(encoding="utf-8"))["parts"] == report["parts"]
    assert sorted(path.name for path in out.iterdir()) == [
        "slimming.json",
        "tracker.yaml",
        "weights.safetensors",
    ]
    segmenter = vidseg.load_image(out / "tracker.yaml")
    answer = segmenter.embed(np.zeros((48, 64, 3), np.uint8)).segment(box=(8, 8, 40, 40))
    assert answer[0].mask.shape == (48, 64)
    source = Source.of(TrackerOptions.of(out / "tracker.yaml", device="cpu"))
    encoder = slimmable(source.model)["image_encoder"].module
    assert (
        sum(w.numel() for w in encoder.parameters()) == report["parts"]["image_encoder"]["parameters_after"]
    )
    # Written anew without changes, it is the same: names, values and settings.
    again = tmp_path / "again"
    again.mkdir()
    source.write(again, {}, source.model)
    assert (again / "tracker.yaml").read_text("utf-8") == (out / "tracker.yaml").read_text("utf-8")
    assert (again / "weights.safetensors").stat().st_size > 0
    reread = Source.of(TrackerOptions.of(again / "tracker.yaml", device="cpu")).model.state_dict()
    assert all(torch.equal(value, reread[name]) for name, value in source.model.state_dict().items())


def test_a_slimmed_tracker_follows(tmp_path: Path, pictures: Path) -> None:
    out = tmp_path / "slim"
    call = call_for(written(tmp_path, {**NARROW_TRACKER, "bfloat16_is_proven": True}), pictures, out)
    assert cli.main([*call, "--prune", "0.3", "--parts", "image_encoder,memory_attention"]) == 0
    document = yaml.safe_load((out / "tracker.yaml").read_text(encoding="utf-8"))
    assert document["memory_attention"]["feedforward"] == 11
    assert document["backbone"]["channels"] == [5, 10, 20, 40]
    assert document["backbone"]["attention"] == [5, 10, 20, 40]
    assert document["backbone"]["mlp"] == [22, 44, 88, 176]
    assert "bfloat16_is_proven" not in document
    session = vidseg.load(out / "tracker.yaml").start()
    session.prompt(1, box=(8, 8, 40, 40))
    for _ in range(3):
        assert session.step(np.zeros((48, 64, 3), np.uint8)).masks[0].shape == (48, 64)


@pytest.mark.parametrize("share", ["0", "1", "-0.5", "1.5", "nan"])
def test_a_share_out_of_range_is_refused(
    share: str, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = call_for(written(tmp_path, IMAGE_MODEL), pictures, tmp_path / "slim")
    assert cli.main([*call, f"--prune={share}"]) == 2
    assert "above 0 and below 1" in capsys.readouterr().err
    assert not (tmp_path / "slim").exists()


def test_a_box_outside_and_an_out_that_cannot_be_made_are_refused_before_the_work(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = written(tmp_path, IMAGE_MODEL)
    said = []
    for out, *more in (
        (tmp_path / "slim", "--box", "90,90,99,99"),
        (model / "slim",),
    ):
        assert cli.main([*call_for(model, pictures, out), "--prune", "0.5", *more]) == 2
        said.append(capsys.readouterr().err)
    assert "lies outside the frame (64x48)" in said[0]
    assert f"'{model}' is not a folder" in said[1]
    assert not any("widths" in message for message in said)  # slimming tells of its first step so


def test_models_and_parts_that_cannot_be_slimmed_are_named(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    residual = {"name": "residual", "stem": 8, "widths": [8, 8, 16, 16], "blocks": [1, 1, 1, 1]}
    out = tmp_path / "slim"
    network = written(tmp_path, {"kind": "engine", "image_size": 64, "backbone": residual})
    assert cli.main([*call_for(network, pictures, out), "--prune", "0.5"]) == 2
    assert "unknown part 'image_encoder'" in capsys.readouterr().err
    assert cli.main([*call_for("vidseg-nano", pictures, out), "--prune", "0.5"]) == 2
    assert "no part of the model can be slimmed" in capsys.readouterr().err
    assert cli.main([*call_for("flow", pictures, out), "--prune", "0.5"]) == 2
    assert "has no weights" in capsys.readouterr().err
    model = written(tmp_path, IMAGE_MODEL)
    assert cli.main([*call_for(model, pictures, out), "--prune", "0.5", "--parts", "decoder"]) == 2
    assert "known: image_encoder" in capsys.readouterr().err
    assert not out.exists()


def test_pictures_that_cannot_be_read_leave_nothing(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "slim"
    call = call_for(written(tmp_path, IMAGE_MODEL), pictures, out)
    (pictures / "1.png").write_bytes(b"no picture")
    assert cli.main([*call, "--prune", "0.5"]) == 2
    message = capsys.readouterr().err
    assert "1.png" in message
    assert len(message.splitlines()) <= 3
    call[call.index(str(pictures))] = str(tmp_path / "nowhere")
    assert cli.main([*call, "--prune", "0.5"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not out.exists()


KILLED = """
import os, signal, sys
from vidseg import cli
from vidseg.compression import original
original.mask_iou = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # all files but the report are written
cli.main(sys.argv[1:])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_killed_in_the_midst_it_leaves_no_half_written_model(tmp_path: Path, pictures: Path) -> None:
    out = tmp_path / "slim"
    call = [*call_for(written(tmp_path, IMAGE_MODEL), pictures, out), "--prune", "0.5"]
    done = subprocess.run([sys.executable, "-c", KILLED, *call], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert cli.main(call) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.yaml", "pictures", "slim"]
