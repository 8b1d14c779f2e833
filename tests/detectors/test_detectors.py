"""Detectors from files: boxes of others, and ONNX networks of each form that exporters write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidseg import Frame
from vidseg.detectors import Detection, open_detector, register_detector
from vidseg.detectors.boxes_file import BoxesFile
from vidseg.detectors.contract import remark_of
from vidseg.detectors.onnx_outputs import read_outputs
from vidseg.detectors.table import DETECTORS
from vidseg.errors import ConfigError, InputError

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SIDE, CELL = 128, 16
GRID = SIDE // CELL


def frame_with_square(x: int, y: int, side: int = 40, size_hw: tuple[int, int] = (180, 320)) -> Frame:
    image = np.full((*size_hw, 3), 90, np.uint8)
    image[y : y + side, x : x + side] = (250, 10, 10)
    return Frame(3, 0.1, image)


def red_detector(path: Path, *, form: str, names: str | None = "{0: 'red thing'}") -> Path:
    """A network that looks at the picture: the score of a cell is its mean of red less its mean of green, its
    box the cell, as the given kind of network puts it out."""
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    half = CELL / 2
    ys, xs = np.mgrid[:GRID, :GRID].reshape(2, -1) * CELL + half
    boxes = np.stack([xs, ys, np.full_like(xs, CELL), np.full_like(ys, CELL)]).astype(np.float32)
    kernel = np.zeros((1, 3, CELL, CELL), np.float32)
    kernel[0, 0], kernel[0, 1] = 1 / CELL**2, -1 / CELL**2
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["map"], strides=[CELL, CELL]),
        helper.make_node("Reshape", ["map", "flat"], ["scores"]),
    ]
    weights = {"kernel": kernel, "flat": np.array([1, 1, -1]), "boxes": boxes[None]}
    outputs = ["out"]
    if form == "yolov8":
        nodes.append(helper.make_node("Concat", ["boxes", "scores"], ["out"], axis=1))
    elif form == "yolov5":
        weights["ones"] = np.ones((1, 1, boxes.shape[1]), np.float32)
        nodes.append(helper.make_node("Concat", ["boxes", "ones", "scores"], ["columns"], axis=1))
        nodes.append(helper.make_node("Transpose", ["columns"], ["out"], perm=[0, 2, 1]))
    else:  # DETR, with logits of the class and of nothing
        weights["boxes"] = (boxes / SIDE).T[None]
        weights |= {"ten": np.float32([10.0]), "zero": np.zeros((1, boxes.shape[1], 1), np.float32)}
        nodes.append(helper.make_node("Transpose", ["scores"], ["rows"], perm=[0, 2, 1]))
        nodes.append(helper.make_node("Mul", ["rows", "ten"], ["class"]))
        nodes.append(helper.make_node("Concat", ["class", "zero"], ["logits"], axis=2))
        nodes.append(helper.make_node("Identity", ["boxes"], ["pred_boxes"]))
        outputs = ["logits", "pred_boxes"]
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("images", real, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, real, None) for name in outputs],
        [array(np.ascontiguousarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if names is not None:
        model.metadata_props.add(key="names", value=names)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("form", ["yolov8", "yolov5", "detr"])
def test_boxes_come_back_in_pixels_of_the_frame(form: str, tmp_path: Path) -> None:
    path = red_detector(tmp_path / "red.onnx", form=form)
    if form == "detr":
        plain = {"mean": [0, 0, 0], "std": [1, 1, 1], "threshold": 0.9}
        path.with_suffix(".json").write_text(json.dumps(plain), encoding="ascii")
    frame = frame_with_square(200, 60, side=80)
    threshold = 0.6 if form != "detr" else 0.99  # a sigmoid of ten times the same
    found = open_detector(str(path), threshold=threshold).detect(frame)
    assert len(found) > 1
    corners = np.array([d.box_xyxy for d in found])
    # Every cell that is red enough lies on the square, up to the half of a cell.
    scale = 320 / SIDE if form != "detr" else np.array([320 / SIDE, 180 / SIDE])
    slack = CELL * scale / 2
    assert (corners[:, :2] >= np.array([200, 60]) - slack - 1).all()
    assert (corners[:, 2:] <= np.array([280, 140]) + slack + 1).all()
    assert {d.label for d in found} == {"red thing"}
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    assert open_detector(str(path), threshold=0.6).detect(frame_with_square(0, 0, side=1)) == []


def test_repeated_boxes_of_yolo_become_one() -> None:
    columns = np.array([[50, 50, 20, 20, 0.9], [51, 50, 20, 20, 0.8], [90, 90, 20, 20, 0.7]])
    found = read_outputs(
        {"o": np.pad(columns, ((0, 7), (0, 0))).T[None]},
        activation="softmax",
        input_hw=(128, 128),
        num_classes=1,
        where="x",
    )
    assert found.may_repeat
    from vidseg.detectors.onnx_file import _distinct

    kept = found.at_least(0.5)
    assert sorted(kept.rows(_distinct(kept)).scores_n.tolist()) == [0.7, 0.9]


def test_end_to_end_and_rt_detr_outputs_are_read() -> None:
    rows = np.array([[10, 20, 30, 40, 0.9, 2], [0, 0, 5, 5, 0.1, 0]])
    settings: dict[str, Any] = {
        "activation": "softmax",
        "input_hw": (64, 64),
        "num_classes": 80,
        "where": "x",
    }
    found = read_outputs({"output0": rows[None]}, **settings)
    assert found.xyxy_n4.tolist() == rows[:, :4].tolist()
    assert found.classes_n.tolist() == [2, 0]
    direct = read_outputs(
        {"labels": rows[None, :, 5], "boxes": rows[None, :, :4], "scores": rows[None, :, 4]}, **settings
    )
    assert direct.are_of_frame
    assert direct.scores_n.tolist() == [0.9, 0.1]
    with pytest.raises(InputError, match="no known form"):
        read_outputs({"a": rows[None], "b": rows[None]}, **settings)


def test_only_the_classes_asked_for_are_found(tmp_path: Path) -> None:
    path = red_detector(tmp_path / "red.onnx", form="yolov8")
    frame = frame_with_square(200, 60, side=80)
    assert open_detector(str(path), "dog, red thing", threshold=0.6).detect(frame)
    with pytest.raises(InputError, match="knows no 'dog'"):
        open_detector(str(path), "dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no ONNX model"), (b"not a network", "no ONNX model"), (b"\x08\x07", "no ONNX model")],
)
def test_foreign_files_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        open_detector(str(path))
    assert "bad.onnx" in str(error.value)


def test_a_file_of_boxes_has_both_forms(tmp_path: Path) -> None:
    ours, coco = tmp_path / "ours.json", tmp_path / "coco.json"
    entries = [
        {"frame": 3, "box": [10, 10, 30, 50], "label": "cup", "score": 0.5},
        {"frame": 3, "box": [-5, 100, 900, 170], "label": "dog", "score": 0.9},
        {"frame": 4, "box": [0, 0, 5, 5]},
    ]
    ours.write_text(json.dumps({"detections": entries}), encoding="ascii")
    coco.write_text(
        json.dumps([{"image_id": 3, "category_id": 7, "bbox": [10, 10, 20, 40], "score": 0.5}]),
        encoding="ascii",
    )
    frame = frame_with_square(0, 0)
    assert open_detector(str(ours)).detect(frame) == [
        Detection((0.0, 100.0, 320.0, 170.0), "dog", 0.9),
        Detection((10.0, 10.0, 30.0, 50.0), "cup", 0.5),
    ]
    assert [d.label for d in open_detector(str(ours), "cup").detect(frame)] == ["cup"]
    assert [d.label for d in open_detector(str(ours), threshold=0.6).detect(frame)] == ["dog"]
    assert open_detector(str(coco)).detect(frame) == [Detection((10.0, 10.0, 30.0, 50.0), "7", 0.5)]
    assert open_detector(f"boxes:{coco}").detect(Frame(9, 0.0, frame.image)) is None, "nothing is known of it"
    assert open_detector(str(coco), threshold=0.6).detect(frame) == [], "it is known that nothing is there"


def test_what_was_left_out_is_told_where_no_box_is_used(tmp_path: Path) -> None:
    path = tmp_path / "det.json"
    path.write_text('{"detections": [{"frame": 0, "box": [0, 0, 5, 5], "label": "dog"}]}', encoding="ascii")
    told = BoxesFile.read(path, ("cup", "cat"), 0.5).remark("frame")
    assert told == (
        "no box of 'det.json' labelled 'cup' or 'cat' with a score of 0.5 or more "
        "lies in a frame that was looked at"
    )


def test_a_label_that_is_null_is_none(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    entries = [
        {"frame": 3, "box": [0, 0, 5, 5], "label": None},
        {"image_id": 3, "bbox": [0, 0, 5, 5], "label": None, "category_id": 7, "score": 0.5},
    ]
    path.write_text(json.dumps(entries), encoding="ascii")
    found = open_detector(str(path)).detect(frame_with_square(0, 0))
    assert found is not None
    assert [detection.label for detection in found] == ["", "7"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"box": [0, 0, 1, 1]}, "no 'frame'"),
        ({"frame": -1, "box": [0, 0, 1, 1]}, "-1"),
        ({"frame": 0, "box": [0, 0, 1]}, "four"),
        ({"frame": 0, "box": [0, 0, 1, float("nan")]}, "finite"),
        ({"frame": 0, "box": [30, 40, 10, 50]}, r"\[30, 40, 10, 50\], where \[x0, y0, x1, y1\] belongs"),
        ({"image_id": 0, "bbox": [30, 40, 10, -5]}, r"where \[x, y, width, height\] belongs"),
        ("cup", "no mapping"),
    ],
)
def test_bad_boxes_are_told_with_their_place(entry: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{"frame": 0, "box": [0, 0, 1, 1]}, entry]), encoding="ascii")
    with pytest.raises(InputError, match=message) as error:
        open_detector(str(path))
    assert "entry 1" in str(error.value)


def test_a_plug_in_adds_a_detector_and_unknown_names_list_them() -> None:
    class Nothing:
        name = "nothing"

        def detect(self, frame: Frame) -> list[Detection]:
            return []

        def remark(self, unit: str) -> str:
            return f"not one {unit} was looked at"

    register_detector("nothing", lambda argument, texts, threshold: Nothing())
    try:
        assert remark_of(open_detector("nothing"), "picture") == "not one picture was looked at"
        assert open_detector("nothing:else").detect(frame_with_square(0, 0)) == []
        with pytest.raises(ConfigError, match="nothin") as error:
            open_detector("nothin")
        assert "model.onnx" in str(error.value)
    finally:
        DETECTORS.unregister("nothing")
