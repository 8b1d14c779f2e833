"""`vidseg compress`: int8 parts track like those of float32, and bad clips leave nothing behind."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vidseg
from support.hard_videos import encode
from support.image_models import written_small
from support.ready_exports import copy_part, image_export, nano_export, small_export
from vidseg import cli
from vidseg.export.int8 import compress
from vidseg.export.int8.quantise import exact_nodes
from vidseg.pipeline.made_video import MadeVideo

pytest.importorskip("onnxscript", reason="the packages of the extra 'onnx' are not installed")
onnx = pytest.importorskip("onnx", reason="the packages of the extra 'onnx' are not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

VIDEO = MadeVideo(num_frames=6, size_hw=(180, 320))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    for frame, _ in VIDEO:
        assert frame.image is not None
        Image.fromarray(frame.image).save(folder / f"{frame.index:05d}.png")
    return folder


def export_once(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    """Have a compression begin with an export that other tests read, too: making it takes longest."""
    monkeypatch.setattr(compress, "export", lambda asked, out, *, wanted: shutil.copytree(made, out))


@pytest.mark.slow
def test_parts_in_int8_are_smaller_and_track_alike(
    clip: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    export_once(monkeypatch, nano_export(tmp_path_factory))
    box = VIDEO.prompts()["objects"][0]["prompts"][0]["box"]
    call = ["compress", "vidseg-nano", "--int8", "--calibrate", str(clip), "--out", str(tmp_path / "int8")]
    asked = ["--parts", "image_encoder,decoder,prompt_decoder", "--box", ",".join(map(str, box)), "--json"]
    assert cli.main([*call, *asked]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["parts"]) == {"image_encoder", "decoder", "prompt_decoder"}
    encoder = report["parts"]["image_encoder"]
    assert encoder["bytes_after"] <= 0.3 * encoder["bytes_before"]
    assert encoder["cosine"] >= 0.999
    assert report["mask_iou"] >= 0.95
    facts = json.loads((tmp_path / "int8/facts.json").read_text(encoding="utf-8"))
    assert facts["parts"]["image_encoder"]["dtype"] == "int8"
    assert facts["int8"] == report
    trackers = [vidseg.load(name) for name in (tmp_path / "int8/tracker.yaml", "vidseg-nano")]
    _, truth = next(iter(VIDEO))
    # Answers differ most where the object is nearly hidden, and more from a box, which says less of it.
    alike = ious(trackers, mask=truth == 1)
    assert np.mean(alike) >= 0.98
    assert min(alike) >= 0.95
    assert np.mean(ious(trackers, box=box)) >= 0.95
    # What was exported in float32 beside them is as it was: no part is left half done.
    assert {path.name for path in (tmp_path / "int8").iterdir()} == {
        "facts.json",
        "tracker.yaml",
        *(about["file"] for about in facts["parts"].values()),
    }


@pytest.mark.slow
def test_the_page_begins_with_an_example_that_runs(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_once(monkeypatch, nano_export(tmp_path_factory))
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    images = [frame.image for frame, _ in VIDEO if frame.image is not None]
    for path in ("clips/a.mp4", "video.mp4"):
        encode(Path(path), images)
    Path("box.json").write_text(json.dumps({"box": VIDEO.prompts()["objects"][0]["prompts"][0]["box"]}))
    page = (Path(__file__).parents[2] / "docs/compress.md").read_text(encoding="utf-8")
    example = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert example is not None
    calls = [shlex.split(line) for line in example[1].splitlines() if line.startswith("vidseg ")]
    assert [call[1] for call in calls] == ["compress", "track"]
    for call in calls:
        assert cli.main(call[1:]) == 0
    assert len(list(Path("runs/video/masks").iterdir())) == len(images)


def ious(trackers: list[Any], **prompt: Any) -> list[float]:
    """The IoU of two trackers' masks on each frame."""
    sessions = [tracker.start() for tracker in trackers]
    found = []
    for session in sessions:
        session.prompt(1, **prompt)
    for frame, _ in VIDEO:
        mine, theirs = (session.step(frame).masks[0] for session in sessions)
        found.append(float((mine & theirs).sum() / (mine | theirs).sum()))
    return found


def test_an_unknown_part_is_named(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["compress", "vidseg-nano", "--int8", "--calibrate", str(clip), "--out", str(tmp_path / "int8")]
    assert cli.main([*call, "--parts", "image_encodr"]) == 2
    assert "image_encoder" in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


@pytest.mark.parametrize("content", [None, b"no video", b""], ids=["missing", "text", "empty"])
def test_a_clip_that_cannot_be_read_leaves_nothing(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "int8"
    if content is not None:
        clip.write_bytes(content)
    assert cli.main(["compress", "vidseg-nano", "--int8", "--calibrate", str(clip), "--out", str(out)]) != 0
    message = capsys.readouterr().err
    assert "clip.mp4" in message
    assert len(message.splitlines()) <= 3
    assert [path.name for path in tmp_path.iterdir()] == ([] if content is None else ["clip.mp4"])


def test_a_clip_of_one_picture_and_a_bad_box_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "clip/0.png")
    call = ["compress", "vidseg-nano", "--int8", "--calibrate", str(tmp_path / "clip"), "--out"]
    assert cli.main([*call, str(tmp_path / "int8")]) != 0
    assert "fewer than two frames" in capsys.readouterr().err
    assert cli.main([*call, str(tmp_path / "int8"), "--box", "1,2,3"]) != 0
    assert "--box '1,2,3'" in capsys.readouterr().err
    assert cli.main([*call, str(tmp_path / "int8"), "--frames", "1"]) != 0
    assert "at least 2" in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


def test_a_box_outside_is_refused_before_the_export(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compress, "export", None)
    call = ["compress", "vidseg-nano", "--int8", "--calibrate", str(clip), "--out", str(tmp_path / "int8")]
    assert cli.main([*call, "--box", "400,10,500,90"]) == 2
    assert "lies outside the frame (320x180)" in capsys.readouterr().err


@pytest.mark.slow
def test_what_would_lose_most_stays_exact_and_biases_of_attention_are_halved(
    clip: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The decoder of another model of SAM's goes with the encoder, of which alone is spoken.
    copy_part("mask_decoder", image_export(tmp_path_factory, "slim-sam-77") / "onnx", monkeypatch)
    path, weights = written_small("mobile-sam", tmp_path)
    call = ["compress", str(path), "--weights", str(weights), "--int8", "--calibrate", str(clip)]
    assert cli.main([*call, "--frames", "2", "--out", str(tmp_path / "int8"), "--json"]) == 0
    encoder = json.loads(capsys.readouterr().out)["parts"]["image_encoder"]
    assert encoder["bytes_after"] <= 0.3 * encoder["bytes_before"]
    graph = onnx.load(tmp_path / "int8/image_encoder.onnx").graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    weighted = {name for name, kind in made_by.items() if kind == "DequantizeLinear"}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    shapes = {each.name: each.dims for each in graph.initializer}
    given = {name: node.input[0] for node in graph.node for name in node.output}

    def is_exact(node: onnx.NodeProto) -> bool:
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        weight = node.input[1] if node.input[1] in shapes else given[node.input[1]]
        return groups > 1 or min(shapes[weight][:2]) <= 24

    exact = [node for node in convolutions if is_exact(node)]
    assert 0 < len(exact) < len(convolutions)
    assert all(bool(weighted & set(node.input)) != (node in exact) for node in convolutions)
    products = [weighted & set(node.input) for node in graph.node if node.op_type == "MatMul"]
    # Both operands of a quantised product are converted, and neither of one of two activations.
    assert {len(converted) for converted in products} == {0, 2}
    assert len([None for converted in products if not converted]) == 2 * 10
    assert (
        sum(np.prod(each.dims) for each in graph.initializer if each.data_type == onnx.TensorProto.FLOAT16)
        > 0
    )


@pytest.mark.slow
def test_all_parts_of_a_tracker_with_memory_may_be_in_eight_bits(
    clip: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = small_export(tmp_path_factory)
    export_once(monkeypatch, small / "onnx")
    parts = ["image_encoder", "memory_attention", "mask_decoder", "memory_encoder"]
    call = ["compress", str(small / "small.yaml"), "--weights", str(small / "weights.pt"), "--int8"]
    call += ["--calibrate", str(clip), "--parts", ",".join(parts), "--out", str(tmp_path / "int8"), "--json"]
    assert cli.main(call) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["parts"]) == parts
    assert min(part["cosine"] for part in report["parts"].values()) >= 0.999
    assert all(part["bytes_after"] < 0.5 * part["bytes_before"] for part in report["parts"].values())
    assert report["mask_iou"] >= 0.8  # of random weights, at 64 pixels


def test_what_follows_a_wide_convolution_is_in_eight_bits_and_the_rest_exact() -> None:
    from onnx import TensorProto, helper, numpy_helper

    weights = {"narrow": (32, 3, 1, 1), "each": (32, 1, 3, 3), "wide": (32, 32, 1, 1), "matrix": (8, 8)}
    weights |= {"few": (16, 32, 1, 1), "many": (96, 16, 1, 1), "few in threes": (16, 32, 3, 3)}
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "narrow"], ["a"], "narrow conv"),
        node("Conv", ["a", "each"], ["b"], "depthwise after it", group=32, pads=[1] * 4),
        node("Conv", ["b", "wide"], ["c"], "wide conv"),
        node("Relu", ["c"], ["d"], "relu after it"),
        node("Conv", ["d", "each"], ["e"], "depthwise in eight bits", group=32, pads=[1] * 4),
        node("Add", ["c", "e"], ["f"], "sum"),
        node("Add", ["f", "a"], ["g"], "sum with float32"),
        node("Resize", ["c", "", "scales"], ["h"], "nearest", mode="nearest"),
        node("Resize", ["f", "", "scales"], ["s"], "nearest of a sum", mode="nearest"),
        node("Resize", ["c", "", "scales"], ["i"], "linear", mode="linear"),
        node("Conv", ["g", "each"], ["j"], "depthwise after float32", group=32, pads=[1] * 4),
        node("Conv", ["d", "few"], ["m"], "single pixels to few channels"),
        node("Conv", ["m", "many"], ["o"], "single pixels from few channels"),
        node("Conv", ["d", "few"], ["p"], "few channels that are enlarged"),
        node("Resize", ["p", "", "scales"], ["q"], "enlarged", mode="linear"),
        node("Relu", ["o"], ["r"], "relu"),
        node("Conv", ["d", "few in threes"], ["n"], "neighbours to few channels", pads=[1] * 4),
        node("ReduceMean", ["d", "places"], ["t"], "mean over the picture"),
        node("Conv", ["t", "wide"], ["u"], "wide conv of a mean"),
        node("Relu", ["u"], ["v"], "relu of a mean"),
        node("Conv", ["v", "wide"], ["w"], "wide conv of a mean's"),
        node("MatMul", ["image", "matrix"], ["k"], "with a weight"),
        node("MatMul", ["image", "image"], ["l"], "of two activations"),
    ]
    values = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()]
    values.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    values.append(numpy_helper.from_array(np.array([2, 3]), "places"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    out = helper.make_tensor_value_info("l", TensorProto.FLOAT, None)
    assert exact_nodes(helper.make_graph(nodes, "small", [image], [out], values)) == [
        "narrow conv",
        "depthwise after it",
        "nearest of a sum",
        "linear",
        "depthwise after float32",
        "few channels that are enlarged",
        "enlarged",
        "neighbours to few channels",
        "wide conv of a mean",
        "relu of a mean",
        "wide conv of a mean's",
        "of two activations",
    ]
