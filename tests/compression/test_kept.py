"""A compression that was cut off goes on where it was, and gives what one gives that was not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from support.image_models import TINY, compress_call, write_pictures, written
from support.trackers import NARROW_TRACKER
from vidseg import cli
from vidseg.compression.kept import Kept

Call = Callable[[Path], list[str]]


@pytest.fixture(params=["prune", "prune-memory", "within-ms", "reconstruct"])
def call(request: pytest.FixtureRequest, tmp_path: Path) -> Call:
    """The words of a compression into a folder."""
    pictures = write_pictures(tmp_path / "pictures", 4)
    if request.param == "prune-memory":
        (tmp_path / "model.yaml").write_text(yaml.safe_dump(NARROW_TRACKER), encoding="utf-8")
        words = [
            "compress",
            str(tmp_path / "model.yaml"),
            "--allow-random-weights",
            "--calibrate",
            str(pictures),
        ]
        words += ["--prune", "0.3", "--parts", "image_encoder,memory_attention", "--epochs", "2"]
    else:
        more = {
            "prune": ["--prune", "0.5", "--epochs", "2"],
            # The whole encoder fits, so that what is found does not hang on how long it takes.
            "within-ms": ["--within-ms", "1e6", "--epochs", "3"],
            "reconstruct": ["--simulate-bits", "W4A4", "--reconstruct", "3"],
        }[request.param]
        words = compress_call(*written(TINY, tmp_path), pictures, *more)
    return lambda out: [*words, "--out", str(out)]


def assert_same(found: Path, wanted: Path) -> None:
    """What decides the masks is the same to the bit; the report has times."""
    assert sorted(path.name for path in found.iterdir()) == sorted(path.name for path in wanted.iterdir())
    for path in wanted.glob("*.safetensors"):
        tensors = load_file(found / path.name)
        assert all(torch.equal(value, tensors.pop(key)) for key, value in load_file(path).items())
        assert not tensors
    settings = [yaml.safe_load((folder / "tracker.yaml").read_text("utf-8")) for folder in (found, wanted)]
    for one in settings:
        one.get("low_bits", {}).pop("scales_sha256", None)  # of a file whose metadata may be in any order
    assert settings[0] == settings[1]


def test_what_was_cut_off_goes_on(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)  # the weights of the tracker, where they are random
    assert cli.main(call(tmp_path / "whole")) == 0
    steps: list[str] = []
    write = Kept.write

    def write_and_stop(self: Kept, step: str, *what: object) -> None:
        write(self, step, *what)  # type: ignore[arg-type]
        steps.append(step)
        raise KeyboardInterrupt

    monkeypatch.setattr(Kept, "write", write_and_stop)
    out = tmp_path / "cut-off"
    exit_code = 130
    while exit_code == 130:
        assert not out.exists()
        torch.manual_seed(1)
        exit_code = cli.main(call(out))
    assert exit_code == 0
    assert len(steps) > 1
    assert len(set(steps)) * 3 >= len(steps), "a step was done over and over"
    assert_same(out, tmp_path / "whole")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_was_kept_of_another_call_is_forgotten(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "out", {"share": 0.5})
    kept.write("step", {"weight": torch.ones(2)}, {"epochs": 1})
    again = Kept(tmp_path / "out", {"share": 0.5})
    tensors, facts = again.read("step") or ({}, {})
    assert (tensors["weight"].tolist(), facts) == ([1.0, 1.0], {"epochs": 1})
    assert again.read("another step") is None
    other = Kept(tmp_path / "out", {"share": 0.4})
    assert other.read("step") is None
    assert not other.folder.exists()


def test_a_step_that_a_disk_spoilt_is_done_anew(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "out", {})
    kept.write("step", {"weight": torch.ones(2)}, {})
    (kept.folder / "step.safetensors").write_bytes(b"spoilt")
    assert kept.read("step") is None


def test_keeping_takes_a_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    kept = Kept(tmp_path / "out", {})
    monkeypatch.setattr("vidseg.compression.kept.write_tensors", lambda *_: now.__setitem__(0, now[0] + 2))
    wrote = []
    for _ in range(40):
        wrote.append(kept.is_due)
        if kept.is_due:
            kept.write("step", {}, {})
        now[0] += 5
    assert wrote == [epoch % 4 == 0 for epoch in range(40)]
