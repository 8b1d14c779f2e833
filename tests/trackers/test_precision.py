"""`dtype: auto`: what it chooses, what a record says of it, and that a run keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import vidseg
from support.made_datasets import make_davis
from support.parity import SMALL_MODEL, weights_for
from vidseg.pipeline.batch.jobs import Job, JobOptions
from vidseg.pipeline.batch.stage import TrackingStage
from vidseg.pipeline.plan import TrackOptions
from vidseg.pipeline.progress import Silent
from vidseg.pipeline.run import Run, TrackSummary
from vidseg.pipeline.stop import Stop
from vidseg.trackers import precision
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.precision import choose_precision
from vidseg.trackers.registry import build_tracker

CPU = torch.device("cpu")
BOX = {"box": [10, 10, 40, 40]}


def machine(monkeypatch: pytest.MonkeyPatch, *, times_as_fast: float) -> None:
    """A processor that multiplies bfloat16 so many times as fast as float32."""
    monkeypatch.setattr(precision, "has_onednn_product", lambda dtype: True)
    monkeypatch.setattr(precision, "product_ms", lambda: {"float32": times_as_fast, "bfloat16": 1.0})


@pytest.mark.parametrize("asked", ["float32", "bfloat16", "float16"])
def test_what_is_asked_for_is_taken(asked: Any) -> None:
    for is_proven in (False, True):
        chosen = choose_precision(asked, CPU, bfloat16_is_proven=is_proven)
        assert (chosen.dtype, chosen.reason) == (getattr(torch, asked), "asked for")


@pytest.mark.parametrize(("ratio", "name"), [(4.0, "bfloat16"), (1.2, "float32"), (0.5, "float32")])
def test_a_processor_is_asked_how_fast_it_is(
    monkeypatch: pytest.MonkeyPatch, ratio: float, name: str
) -> None:
    machine(monkeypatch, times_as_fast=ratio)
    chosen = choose_precision("auto", CPU, bfloat16_is_proven=True)
    assert chosen.name == name
    assert f"{ratio:.1f} times as fast" in chosen.reason
    unproven = choose_precision("auto", CPU, bfloat16_is_proven=False)
    assert (unproven.name, unproven.reason) == ("float32", "bfloat16 is not proven for this model")


def test_a_processor_without_bfloat16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_onednn_product", lambda dtype: dtype == torch.float32)
    monkeypatch.setattr(precision, "product_ms", lambda: pytest.fail("measured"))
    chosen = choose_precision("auto", CPU, bfloat16_is_proven=True)
    assert (chosen.name, chosen.reason) == ("float32", "this processor does not multiply bfloat16")


@pytest.mark.parametrize(
    ("capability", "name"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_a_gpu_takes_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "card")
    chosen = choose_precision("auto", torch.device("cuda"), bfloat16_is_proven=True)
    assert chosen.name == name
    assert "card" in chosen.reason
    assert choose_precision("auto", torch.device("mps"), bfloat16_is_proven=True).name == "float32"


def test_products_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path))
    times = precision.product_ms()
    assert set(times) == {"float32", "bfloat16"}
    assert min(times.values()) > 0
    monkeypatch.setattr(precision, "_measure_products", lambda: pytest.fail("measured again"))
    assert precision.product_ms() == times


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A tracker that is proven in bfloat16, with weights."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_MODEL + "bfloat16_is_proven: true\nweights: small.safetensors\n")
    save_file(weights_for(path), tmp_path / "small.safetensors")
    return path


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return make_davis(tmp_path / "data") / "JPEGImages/480p/ants"


class StopAfter(Silent):
    """Asks for a stop after so many frames."""

    def __init__(self, frames: int, stop: Stop) -> None:
        self.left = frames
        self.stop = stop

    def advance(self) -> None:
        self.left -= 1
        self.stop.is_requested |= self.left == 0


def track(
    small: Path, frames: Path, out: Path, *, frames_before_stop: int = 10**6, **more: Any
) -> TrackSummary:
    stop = Stop()
    return Run(
        frames,
        BOX,
        build_tracker,
        out,
        TrackOptions(formats=["rle"], **more),
        asked=TrackerOptions(tracker=str(small), device="cpu"),
        warn=lambda line: None,
        progress=StopAfter(frames_before_stop, stop),
        stop=stop,
    ).run()


def record_of(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "run.json").read_text())
    return record


def test_a_run_says_its_type_and_is_resumed_in_it(
    small: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, times_as_fast=3.0)
    track(small, frames, tmp_path / "whole")
    assert track(small, frames, tmp_path / "out", frames_before_stop=2).status == "interrupted"
    machine(monkeypatch, times_as_fast=0.5)
    assert track(small, frames, tmp_path / "out", resume=True).status == "done"
    record = record_of(tmp_path / "out")
    assert (record["options"]["dtype"], record["tracker_facts"]["dtype"]) == ("bfloat16", "bfloat16")
    assert "3.0 times as fast" in record["tracker_facts"]["dtype_reason"]
    assert record["resumed"] == 1
    masklets = [(tmp_path / name / "masklets.jsonl").read_bytes() for name in ("out", "whole")]
    assert masklets[0] == masklets[1]
    track(small, frames, tmp_path / "out", overwrite=True)
    assert record_of(tmp_path / "out")["options"]["dtype"] == "float32"


def test_a_job_is_resumed_and_done_in_its_type(
    small: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(**more: Any) -> Job:
        options = JobOptions(tracker=str(small), device="cpu", formats=["rle"], **more)
        return Job(id="ants", video=str(frames), prompt=BOX, options=options)

    def processed(job: Job) -> Any:
        stage = TrackingStage(str(tmp_path / "jobs"))
        stage.setup(job)
        return stage.process(job)

    machine(monkeypatch, times_as_fast=3.0)
    track(small, frames, tmp_path / "whole")
    assert processed(job()).status == "done"
    machine(monkeypatch, times_as_fast=0.5)
    assert processed(job()).was_done_before
    assert processed(job(dtype="bfloat16")).was_done_before
    # A try that was broken off goes on in bfloat16, one with other prompts begins in float32.
    run_json = tmp_path / "jobs/ants/run.json"
    run_json.write_text(json.dumps({**record_of(run_json.parent), "status": "interrupted"}))
    assert not processed(job()).was_done_before
    assert record_of(run_json.parent)["options"]["dtype"] == "bfloat16"
    masklets = [(folder / "masklets.jsonl").read_bytes() for folder in (run_json.parent, tmp_path / "whole")]
    assert masklets[0] == masklets[1]
    assert not processed(job(end=2)).was_done_before
    assert record_of(run_json.parent)["options"]["dtype"] == "float32"


def test_python_loads_in_float32(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, times_as_fast=3.0)
    assert vidseg.load(small, device="cpu").describe()["dtype"] == "float32"
    told = vidseg.load(small, device="cpu", dtype="auto").describe()
    assert (told["dtype"], "3.0 times as fast" in told["dtype_reason"]) == ("bfloat16", True)
    assert vidseg.load_image(small, device="cpu").dtype == torch.float32  # proven of videos alone
