"""Exported models: the graphs give what the tracker gives, and bad files are named."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import vidseg
from support.golden_play import play
from support.goldens import PromptCall, assert_close, golden_names, load_golden, seeded_state
from support.made_datasets import make_davis
from support.parity import SMALL_MODEL, as_frames, moving_picture, small_tracker
from support.ready_exports import copy_part, small_export
from vidseg import cli
from vidseg.errors import CheckpointError, ConfigError
from vidseg.export.models import exportable
from vidseg.export.write import export
from vidseg.trackers.onnx.graphs import read_facts
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.weights import sha256_of

pytest.importorskip("onnxscript", reason="the packages of the extra 'onnx' are not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

EXAMPLE = Path(__file__).parents[2] / "examples/onnx_tracker.py"
SIDE = 64
FEW_BITS = {
    "bits": "W4A4",
    "calibrator": "plain",
    "parts": ["image_encoder"],
    "scales": "scales.safetensors",
    "weights_sha256": "",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A small tracker with weights under which objects are visible, and its export."""
    folder = small_export(tmp_path_factory)
    tracker = vidseg.load(folder / "small.yaml", weights=folder / "weights.pt", device="cpu")
    return tracker, folder / "onnx"


def video(count: int = 6) -> list[Any]:
    return as_frames(moving_picture(count, SIDE))


def run(tracker: Any, frames: list[Any]) -> list[Any]:
    session = tracker.start(num_frames=len(frames))
    session.prompt(1, box=(10, 10, 50, 45))
    session.prompt(2, points=[[60, 30]], labels=[1])
    mask = np.zeros(frames[0].size_hw, bool)
    mask[20:40, 20:60] = True
    session.prompt(3, mask=mask)
    results = []
    for frame in frames:
        results.append(session.step(frame))
        if frame.index == 3:
            results.append(session.refine(1, points=[[20, 20], [40, 30]], labels=[1, 0]))
            session.remove(2)
    return results


@pytest.mark.slow
def test_the_tracker_of_graphs_equals_the_tracker(small: tuple[Any, Path]) -> None:
    tracker, folder = small
    exported = vidseg.load(folder / "tracker.yaml")
    for mine, theirs in zip(run(exported, video()), run(tracker, video()), strict=True):
        assert mine.obj_ids == theirs.obj_ids
        assert_close("low", theirs.low_res_logits, mine.low_res_logits)
        np.testing.assert_allclose(mine.object_score_logits, theirs.object_score_logits, atol=5e-3)
    assert (theirs.low_res_logits > 0).any()


@pytest.mark.slow
def test_graphs_read_one_memory_whole_and_more_in_squares_as_the_tracker_does(
    small: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("image_encoder", "mask_decoder", "mask_prompt", "memory_encoder"):
        copy_part(part, small[1], monkeypatch)  # which are those of the small tracker
    pooled = SMALL_MODEL.replace("name: rotary,", "name: pooled,")
    assert pooled != SMALL_MODEL
    (tmp_path / "pooled.yaml").write_text(pooled, encoding="utf-8")
    weights = small[1].parent / "weights.pt"
    export(TrackerOptions.of(tmp_path / "pooled.yaml", weights=weights), tmp_path / "onnx")
    exported = vidseg.load(tmp_path / "onnx/tracker.yaml")
    tracker = vidseg.load(tmp_path / "pooled.yaml", weights=weights, device="cpu")
    mine, theirs, others = (
        [result.low_res_logits for result in run(each, video())] for each in (exported, tracker, small[0])
    )
    for got, want in zip(mine, theirs, strict=True):
        assert_close("low", want, got)
    assert np.abs(others[-1] - theirs[-1]).max() > 1e-2  # reading in squares is seen


@pytest.mark.slow
def test_a_session_of_graphs_goes_on_where_it_was_saved(small: tuple[Any, Path], tmp_path: Path) -> None:
    tracker = vidseg.load(small[1] / "tracker.yaml")
    frames = video()
    session = tracker.start()
    session.prompt(1, box=(10, 10, 50, 45))
    for frame in frames[:3]:
        session.step(frame)
    session.save(tmp_path / "state")
    expected = [session.step(frame).low_res_logits for frame in frames[3:]]
    restored = tracker.restore(tmp_path / "state")
    for frame, want in zip(frames[3:], expected, strict=True):
        np.testing.assert_array_equal(restored.step(frame).low_res_logits, want)


@pytest.mark.slow
def test_the_example_tracks_a_clip_without_torch(small: tuple[Any, Path], tmp_path: Path) -> None:
    tracker, folder = small
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 255, (SIDE, SIDE + 24, 3)).astype(np.uint8)
    clip = np.stack([picture[:, 2 * t : 2 * t + SIDE] for t in range(10)])
    np.save(tmp_path / "clip.npy", clip)
    # Imports of torch and vidseg fail there, as where they are not installed.
    blocked = (
        "import sys; sys.modules.update(torch=None, vidseg=None); "
        "import runpy; path, *sys.argv[1:] = sys.argv[1:]; "
        "runpy.run_path(path, run_name='__main__')"
    )
    call = [str(EXAMPLE), str(folder), str(tmp_path / "clip.npy"), "8,8,50,50", str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", blocked, *call], check=True, env={"PATH": "/usr/bin"})
    masks = np.load(tmp_path / "out.npy")
    session = tracker.start(num_frames=len(clip))
    session.prompt(1, box=(8, 8, 50, 50))
    expected = np.stack([session.step(image).low_res_logits[0] > 0 for image in clip])
    assert expected.any()
    assert (masks != expected).mean() <= 1e-4


class HalfGraph:
    """A session whose graph takes an input in float16, another one exactly, and gives float16."""

    def get_inputs(self) -> list[Any]:
        return [
            SimpleNamespace(name="features", type="tensor(float16)"),
            SimpleNamespace(name="points", type="tensor(float)"),
        ]

    def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert [value.dtype for value in inputs.values()] == [np.float16, np.float32]
        return [inputs["features"]]


def test_the_example_runs_graphs_of_float16_and_names_models_of_other_kinds(tmp_path: Path) -> None:
    tracker_class = runpy.run_path(str(EXAMPLE))["OnnxTracker"]
    (tmp_path / "facts.json").write_text('{"format": "onnx", "model": "space-time"}', encoding="utf-8")
    with pytest.raises(ValueError, match="SAM 2's family"):
        tracker_class(tmp_path)
    tracker = object.__new__(tracker_class)
    tracker.graphs = {"part": HalfGraph()}
    (output,) = tracker._run("part", features=np.ones(2, np.float32), points=np.ones(2, np.float32))
    assert output.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("name", golden_names("sam2.1_hiera_t_A") + golden_names("edgetam_A"))
def test_graphs_equal_the_official_predictor(
    name: str, small: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = load_golden(name)
    # Nobody gives a mask there: another model's graph stands in for what takes one.
    assert not any("mask" in step.prompt for step in golden.steps if isinstance(step, PromptCall))
    copy_part("mask_prompt", small[1], monkeypatch)
    options = TrackerOptions.of(golden.tracker, weights=seeded_state(golden), image_size=golden.image_size)
    export(options, tmp_path / "onnx")
    got = play(golden, vidseg.load(tmp_path / "onnx/tracker.yaml"))
    for key in (key for key in got if key.endswith(("_low", "_video_sub"))):
        want = golden.arrays[key]
        assert np.abs(got[key] - want).max() <= 1e-3 * want.std(), key


@pytest.mark.slow
def test_facts_tell_free_sizes_and_files_alone_run(small: tuple[Any, Path]) -> None:
    _, folder = small
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    assert facts["opset"] == 20
    shapes = facts["parts"]["memory_attention"]["inputs"]
    assert shapes["memories"][:2] == ["objects", "frames"]
    session = onnxruntime.InferenceSession(str(folder / "memory_attention.onnx"))
    inputs = {needed.name: needed for needed in session.get_inputs()}
    assert inputs["pointers"].shape[:2] == ["objects", "pointers"]
    rng = np.random.default_rng(0)
    for objects, frames, pointers in ((1, 1, 1), (4, 7, 16)):
        sizes = {"objects": objects, "frames": frames, "pointers": pointers}
        feeds = {}
        for name, shape in shapes.items():
            whole = [sizes.get(size, size) for size in shape]
            feeds[name] = rng.random(whole, np.float32) if name != "slots" else np.zeros(whole, np.int64)
        (conditioned,) = session.run(None, feeds)
        assert conditioned.shape[0] == objects
        assert np.isfinite(conditioned).all()


def _cut(folder: Path) -> None:
    path = folder / "mask_decoder.onnx"
    path.write_bytes(path.read_bytes()[:1000])


def _exchange(folder: Path) -> None:
    (folder / "mask_decoder.onnx").unlink()


def _old_opset(folder: Path) -> None:
    _change(folder, opset=11)


def _outside(folder: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    shutil.copy(folder / "mask_decoder.onnx", folder.parent / "other.onnx")
    facts["parts"]["mask_decoder"]["file"] = "../other.onnx"
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _change(folder: Path, **changes: Any) -> None:
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    (folder / "facts.json").write_text(json.dumps({**facts, **changes}), encoding="utf-8")


def _no_facts(folder: Path) -> None:
    (folder / "facts.json").unlink()


def _without(*keys: str) -> Any:
    """Leaves out what these keys, one inside another, lead to."""

    def harm(folder: Path) -> None:
        facts = inner = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    return harm


def _say(**said: Any) -> Any:
    """Changes settings in tracker.yaml."""

    def change(folder: Path) -> None:
        path = folder / "tracker.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**config, **said}), encoding="utf-8")

    return change


def _exchange_by_another_export(folder: Path) -> None:
    """Another graph of the same weights, as an export in eight bits has, with facts that name it."""
    path = folder / "mask_decoder.onnx"
    model = onnx.load(path)
    model.producer_name = "another export"
    onnx.save(model, path)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    facts["parts"]["mask_decoder"]["sha256"] = sha256_of(path)
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_cut, "SHA-256"),
        (_exchange, "missing"),
        (_old_opset, "opset 11"),
        (lambda folder: _change(folder, opset=None), "opset None"),
        (lambda folder: _change(folder, version=2), "a newer vidseg"),
        (_without("absent_pointer"), "lack 'absent_pointer'"),
        (_without("weights_sha256"), "not those of an exported model"),
        (_without("parts", "mask_prompt"), "no graph of 'mask_prompt'"),
        (_outside, "missing"),
        (_no_facts, "no folder of an exported model"),
    ],
)
def test_bad_exports_are_named(harm: Any, message: str, small: tuple[Any, Path], tmp_path: Path) -> None:
    folder = tmp_path / "onnx"
    shutil.copytree(small[1], folder)
    harm(folder)
    with pytest.raises(CheckpointError, match=message) as error:
        vidseg.load(folder / "tracker.yaml")
    assert str(folder.parent) in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_say(image_size=96), "its graphs are for 64"),
        (_say(bank={"name": "recent-frames", "recent_frames": 9}), "time codes for 6"),
        (_say(bank={"name": "memory-tree"}), "scales keys"),
        (_say(close_up=True), "close-up"),
        (_say(low_bits=FEW_BITS), "low_bits"),
    ],
)
def test_settings_that_the_graphs_do_not_have_are_refused(
    change: Any, message: str, small: tuple[Any, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(small[1], tmp_path / "onnx"))
    change(folder)
    with pytest.raises(ConfigError, match=message):
        vidseg.load(folder / "tracker.yaml")


@pytest.mark.slow
def test_graphs_run_on_the_cpu_that_is_asked_for_and_on_no_device_of_torch(small: tuple[Any, Path]) -> None:
    told = vidseg.load(small[1] / "tracker.yaml", device="cpu").describe()
    assert (told["device"], told["parameters"]) == ("cpu", None)
    with pytest.raises(ConfigError, match="providers"):
        vidseg.load(small[1] / "tracker.yaml", device="cuda")


@pytest.mark.slow
def test_an_exported_tracker_is_evaluated(small: tuple[Any, Path], tmp_path: Path) -> None:
    make_davis(tmp_path / "davis", sequences=("ants",))
    call = ["eval", "davis2017", "--root", str(tmp_path / "davis"), "--out", str(tmp_path / "out")]
    assert cli.main([*call, "--tracker", str(small[1] / "tracker.yaml"), "--quiet"]) == 0
    card = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["card"]
    assert card["configuration"]["kind"] == "onnx"


@pytest.mark.slow
def test_other_graphs_under_the_same_path_do_not_go_on(
    small: tuple[Any, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(small[1], tmp_path / "onnx"))
    video, picture = tmp_path / "video", tmp_path / "video/0.png"
    video.mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 255, (48, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(video / f"{index}.png")
    more = ["--box", "5,5,40,30", "--tracker", str(folder / "tracker.yaml"), "--quiet", "--out"]
    calls = [
        ["track", str(video), *more, str(tmp_path / "tracked")],
        ["segment", str(picture), *more, str(tmp_path / "segmented")],
    ]
    for call in calls:
        assert cli.main(call) == 0
    session = vidseg.load(folder / "tracker.yaml").start()
    session.save(tmp_path / "state")
    _exchange_by_another_export(folder)
    for call in calls:
        assert cli.main([*call, "--resume"]) == 2
        assert "differs from this call in configuration" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="another configuration"):
        vidseg.load(folder / "tracker.yaml").restore(tmp_path / "state")


@pytest.mark.slow
def test_what_a_graph_cannot_do_is_refused(small: tuple[Any, Path], tmp_path: Path) -> None:
    for said in ({"image_size": 128}, {"graphs": True}):
        with pytest.raises(ConfigError, match="exported graphs"):
            vidseg.load(small[1] / "tracker.yaml", **said)
    text = (small[1] / "tracker.yaml").read_text(encoding="utf-8")
    other = tmp_path / "gpu.yaml"
    other.write_text(
        text.replace("weights: .", f"weights: {small[1]}\nproviders: [NoProvider]"), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="NoProvider"):
        vidseg.load(other)


@pytest.mark.slow
def test_graphs_take_no_other_weights_and_are_not_exported_again(
    small: tuple[Any, Path], tmp_path: Path
) -> None:
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(ConfigError, match="hold their weights"):
        vidseg.load(small[1] / "tracker.yaml", weights=tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match="hold their weights"):
        vidseg.load(small[1] / "tracker.yaml", weights={"no_mem_embed": torch.zeros(1)})
    with pytest.raises(ConfigError, match="exported already"):
        export(TrackerOptions.of(small[1] / "tracker.yaml"), tmp_path / "out")


def only_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a model be exported without its other parts, which take as long each."""

    def exportable_part(model: Any) -> Any:
        whole = exportable(model)
        return replace(whole, parts=[part for part in whole.parts if part.name == name])

    monkeypatch.setattr("vidseg.export.write.exportable", exportable_part)


def test_an_export_keeps_the_options_of_its_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidseg.export.write._write_part", lambda part, path, dtype: path.touch())
    small_tracker(tmp_path)
    path = tmp_path / "small.yaml"
    said = {"fill_hole_area": 8, "non_overlap_masks": True, "max_conditioning": 3, "compile": True}
    path.write_text(f"{path.read_text(encoding='utf-8')}options: {json.dumps(said)}\n", encoding="utf-8")
    export(TrackerOptions.of(path, allow_random_weights=True), tmp_path / "onnx")
    config = yaml.safe_load((tmp_path / "onnx/tracker.yaml").read_text(encoding="utf-8"))
    assert config["options"] == {"fill_hole_area": 8, "non_overlap_masks": True}
    assert config["bank"]["max_conditioning"] == 3


def test_two_names_of_a_tracker_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["export"], ["compress", "--int8", "--calibrate", "clip.mp4"]):
        call = [*command, "vidseg-nano", "--tracker", "flow", "--out", str(tmp_path / "out")]
        assert cli.main(call) == 2
        assert "'vidseg-nano' and --tracker 'flow' both name a tracker" in capsys.readouterr().err


def test_trackers_without_a_model_and_full_folders_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", "flow", "--out", str(tmp_path / "onnx")]) == 2
    assert "no model to export" in capsys.readouterr().err
    assert not (tmp_path / "onnx").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert cli.main(["export", "edgetam", "--out", str(tmp_path / "full")]) == 2
    assert "there already" in capsys.readouterr().err


@pytest.mark.slow
def test_packages_of_torch_export_load_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tracker(tmp_path)
    only_part("memory_encoder", monkeypatch)
    options = TrackerOptions.of(tmp_path / "small.yaml", allow_random_weights=True)
    facts = export(options, tmp_path / "pt2", format="pt2")
    assert facts["opset"] is None
    package = torch.export.load(tmp_path / "pt2/memory_encoder.pt2")
    others = [name for name in package.state_dict if not name.startswith("model.memory_encoder.")]
    assert others == ["model.no_obj_embed_spatial"]
    program = package.module()
    shapes = facts["parts"]["memory_encoder"]["inputs"]
    inputs = [torch.zeros([3 if size == "objects" else size for size in shape]) for shape in shapes.values()]
    inputs[-1] = inputs[-1].bool()
    assert program(*inputs)[0].shape[0] == 3
    with pytest.raises(CheckpointError, match="exported as pt2"):
        read_facts(tmp_path / "pt2")
