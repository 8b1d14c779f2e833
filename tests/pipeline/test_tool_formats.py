"""CVAT's images, MOTS and Label Studio: read back by each tool's own rule, and by the tool if it is here."""

from __future__ import annotations

import json
import re
import sys
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools import mask as coco_mask

import vidseg
from support.exports import LABELS, Seen, assert_same, written
from support.masklets import frame_masks, masklets, moving_squares, visible
from vidseg.errors import InputError
from vidseg.pipeline.writers import FrameMasks
from vidseg.pipeline.writers.label_studio import encode_brush_rle
from vidseg.testing import FakeTracker

few = settings(max_examples=30)


def low_ids(frames: list[FrameMasks]) -> list[FrameMasks]:
    """Without overlaps, as label maps have the masks."""
    shown = []
    for masks in frames:
        label_map = masks.label_map()
        shown.append(
            frame_masks(
                masks.frame_idx,
                np.array([label_map == obj_id for obj_id in masks.obj_ids]).reshape(masks.masks.shape),
                masks.obj_ids,
            )
        )
    return shown


# CVAT for images.


def read_cvat_images(path: Path) -> Seen:
    root = ElementTree.parse(path).getroot()
    assert root.findtext("meta/task/mode") == "annotation"
    seen: Seen = {}
    for image in root.findall("image"):
        size_hw = int(image.attrib["height"]), int(image.attrib["width"])
        for shape in image.findall("mask"):
            x, y, w, h = (int(shape.attrib[side]) for side in ("left", "top", "width", "height"))
            runs = [int(run) for run in shape.attrib["rle"].split(",")]
            mask = np.zeros(size_hw, bool)
            mask[y : y + h, x : x + w] = np.repeat(np.arange(len(runs)) % 2, runs).reshape(h, w)
            assert shape.findtext("attribute") == shape.attrib["group_id"]
            seen[int(image.attrib["id"]), int(shape.attrib["group_id"])] = (mask, shape.attrib["label"])
    return seen


@few
@given(frames=masklets())
def test_cvat_images_come_back(tmp_path_factory: pytest.TempPathFactory, frames: list[FrameMasks]) -> None:
    path = written(tmp_path_factory.mktemp("cvat"), frames, "cvat-images")
    assert_same(read_cvat_images(path), frames)
    assert len(ElementTree.parse(path).getroot().findall("image")) == len(frames)


@pytest.mark.parametrize("name", ["cvat", "cvat:polygons", "cvat-images", "label-studio"])
def test_labels_that_xml_does_not_have_leave_a_document(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, moving_squares(2), name, labels={1: "a\x01\x1bb", 2: "\uffff"})
    text = (path / "images.xml" if path.is_dir() else path).read_text()
    ElementTree.fromstring(text)
    assert "a\ufffd\ufffdb" in text


@pytest.mark.parametrize("name", ["cvat", "cvat-images"])
def test_shapes_have_the_very_labels_that_the_task_names(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, moving_squares(2), name, labels={1: "a\r\nb", 2: "c\r\t d"})
    root = ElementTree.parse(path).getroot()
    shapes = {shape.attrib["label"] for shape in root.iter() if "label" in shape.attrib}
    assert {label.text for label in root.findall("meta/task/labels/label/name")} == shapes


def test_cvat_images_hold_polygons_too(tmp_path: Path) -> None:
    frames = moving_squares(3)
    root = ElementTree.parse(written(tmp_path, frames, "cvat-images:polygons")).getroot()
    seen: Seen = {}
    for image in root.findall("image"):
        for shape in image.findall("polygon"):
            flat = [float(side) for point in shape.attrib["points"].split(";") for side in point.split(",")]
            mask = coco_mask.decode(coco_mask.frPyObjects([flat], 48, 64))[..., 0].astype(bool)
            seen[int(image.attrib["id"]), int(shape.attrib["group_id"])] = (mask, shape.attrib["label"])
    assert_same(seen, frames)


def test_cvat_images_are_named_as_the_files(tmp_path: Path) -> None:
    path = written(tmp_path, moving_squares(2), "cvat-images", frame_files=['a&"b".JPG', "c.png"])
    names = [image.attrib["name"] for image in ElementTree.parse(path).getroot().findall("image")]
    assert names == ['a&"b".JPG', "c.png"]


# MOTS.


def read_mots(path: Path) -> tuple[Seen, Seen]:
    """What the pictures hold, and what the text holds."""
    labels = (path / "instances/labels.txt").read_text().split("\n")
    pictures: Seen = {}
    for file in sorted((path / "instances").glob("*.png")):
        picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert picture.dtype == np.uint16
        for number in np.unique(picture[picture > 0]).tolist():
            class_id, obj_id = divmod(number, 1000)
            pictures[int(file.stem), obj_id] = (picture == number, labels[class_id - 1])
    text: Seen = {}
    for row in (path / "instances.txt").read_text().splitlines():
        frame, number, class_id, height, width, counts = row.split(" ")
        assert int(number) // 1000 == int(class_id)
        mask = coco_mask.decode({"size": [int(height), int(width)], "counts": counts}).astype(bool)
        text[int(frame) - 1, int(number) % 1000] = (mask, labels[int(class_id) - 1])
    return pictures, text


@few
@given(frames=masklets())
def test_mots_comes_back_as_label_maps_show_it(
    tmp_path_factory: pytest.TempPathFactory, frames: list[FrameMasks]
) -> None:
    labels = {1: "dog", 2: "pedestrian", 3: "car"}
    path = written(tmp_path_factory.mktemp("mots"), frames, "mots", labels=labels)
    for seen in read_mots(path):
        assert_same(seen, low_ids(frames), labels)


def test_mots_classes_are_the_official_ones_where_there_are_some(tmp_path: Path) -> None:
    labels = {1: "dog", 2: "pedestrian", **{i: f"label {i}" for i in range(3, 12)}}
    frames = [frame_masks(0, np.eye(11, dtype=bool)[:, None, :])]
    path = written(tmp_path, frames, "mots", labels=labels)
    lines = (path / "instances/labels.txt").read_text().splitlines()
    assert lines[:3] == ["car", "pedestrian", "dog"]
    assert lines.index("ignore") == 9
    assert len(set(lines)) == len(lines) == 13
    for seen in read_mots(path):
        assert_same(seen, frames, labels)


def test_mots_has_a_line_for_each_class_whatever_its_name(tmp_path: Path) -> None:
    frames = [frame_masks(0, np.eye(2, dtype=bool)[:, None, :])]
    path = written(tmp_path, frames, "mots", labels={1: "a\nb\u2028c", 2: "d"})
    lines = (path / "instances/labels.txt").read_text().splitlines()
    assert lines == ["car", "pedestrian", r"a\nb\u2028c", "d"]


def test_mots_says_what_it_cannot_hold(tmp_path: Path) -> None:
    frames = [frame_masks(0, np.ones((1, 4, 4)), [1000])]
    with pytest.raises(InputError, match="ids up to 999, and there is 1000"):
        written(tmp_path, frames, "mots")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masklets.jsonl"]


# Label Studio.


class Bits:
    def __init__(self, data: list[int]) -> None:
        self.text = "".join(f"{byte:08b}" for byte in data)
        self.place = 0

    def read(self, width: int) -> int:
        self.place += width
        return int(self.text[self.place - width : self.place], 2)


def decode_brush_rle(data: list[int], size_hw: tuple[int, int]) -> np.ndarray:
    """The pixels of a code of thi.ng's rle-pack (README of @thi.ng/rle-pack, "Encoding format")."""
    bits = Bits(data)
    count, width = bits.read(32), bits.read(5) + 1
    widths = [bits.read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_run, length = bits.read(1), bits.read(widths[bits.read(2)]) + 1
        values += [bits.read(width)] * length if is_run else [bits.read(width) for _ in range(length)]
    rgba = np.array(values, np.uint8).reshape(*size_hw, 4)
    assert (rgba == rgba[..., :1]).all()
    return rgba[..., 3] > 0


@few
@given(frames=masklets())
def test_brush_strokes_come_back(frames: list[FrameMasks]) -> None:
    for _, _, mask, _ in visible(frames):
        np.testing.assert_array_equal(decode_brush_rle(encode_brush_rle(mask), mask.shape), mask)


def test_a_run_longer_than_its_field_comes_back() -> None:
    mask = np.zeros((200, 300), bool)
    mask[100:180] = True
    np.testing.assert_array_equal(decode_brush_rle(encode_brush_rle(mask), mask.shape), mask)


def read_label_studio(path: Path, size_hw: tuple[int, int]) -> Seen:
    seen: Seen = {}
    for task in json.loads((path / "images.json").read_text()):
        frame_idx = int(Path(task["data"]["image"]).stem)
        (prediction,) = task["predictions"]
        for region in prediction["result"]:
            assert (region["original_height"], region["original_width"]) == size_hw
            (label,) = region["value"]["brushlabels"]
            mask = decode_brush_rle(region["value"]["rle"], size_hw)
            seen[frame_idx, int(region["id"].removeprefix("object-"))] = (mask, label)
    return seen


def test_label_studio_images_come_back(tmp_path: Path) -> None:
    frames = moving_squares(4)
    path = written(tmp_path, frames, "label-studio")
    assert_same(read_label_studio(path, (48, 64)), frames)
    assert not (path / "video.json").exists()  # there is no file of a video to show


def test_label_studio_boxes_live_while_the_object_is_in_sight(tmp_path: Path) -> None:
    frames = moving_squares(7)
    path = written(tmp_path, frames, "label-studio", video_file="my clip.mp4")
    (task,) = json.loads((path / "video.json").read_text())
    assert task["data"] == {"video": "/data/local-files/?d=my%20clip.mp4"}
    regions = {region["id"]: region["value"] for region in task["predictions"][0]["result"]}
    assert [region["labels"] for region in regions.values()] == [["dog"], [LABELS[2]]]
    assert {region["framesCount"] for region in regions.values()} == {7}
    shown = {
        (number, frame_idx): box
        for number, region in regions.items()
        for frame_idx, box in boxes_over_time(region["sequence"], 7).items()
    }
    wanted = {}
    for frame_idx, obj_id, mask, _ in visible(frames):
        ys, xs = np.nonzero(mask)
        wanted[f"object-{obj_id}", frame_idx] = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
    assert shown.keys() == wanted.keys()
    for key, box in wanted.items():
        np.testing.assert_allclose(shown[key], np.array(box) / (64, 48, 64, 48) * 100, atol=1e-3)


def boxes_over_time(sequence: list[dict[str, Any]], num_frames: int) -> dict[int, list[float]]:
    """What Label Studio shows: a box from its keyframe on, moving to the next, to the end of a lifespan."""
    shown = {}
    for keyframe, following in zip(sequence, [*sequence[1:], {"frame": num_frames + 1}], strict=True):
        last = following["frame"] - 1 if keyframe["enabled"] else keyframe["frame"]
        for frame in range(keyframe["frame"], last + 1):
            shown[frame - 1] = [keyframe[side] for side in ("x", "y", "width", "height")]
    return shown


def test_label_studio_configurations_hold_every_label(tmp_path: Path) -> None:
    path = written(tmp_path, moving_squares(2), "label-studio", video_file="clip.mp4")
    for name, tag in (("images.xml", "BrushLabels"), ("video.xml", "Labels")):
        root = ElementTree.parse(path / name).getroot()
        assert [label.attrib["value"] for label in root.findall(f"{tag}/Label")] == ["dog", LABELS[2]]


def test_label_studios_sdk_takes_the_tasks(tmp_path: Path) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="needs label-studio-sdk")
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="needs label-studio-sdk")
    frames = moving_squares(4)
    labels = {1: "dog", 2: "cat"}
    path = written(tmp_path, frames, "label-studio", video_file="clip.mp4", labels=labels)
    for name in ("images", "video"):
        config = interface.LabelInterface((path / f"{name}.xml").read_text())
        for task in json.loads((path / f"{name}.json").read_text()):
            assert config.validate_task({"data": task["data"]})
            for prediction in task["predictions"]:
                assert config.validate_prediction(prediction, return_errors=True) == []
    for frame_idx, obj_id, mask, _ in visible(frames):
        task = json.loads((path / "images.json").read_text())[frame_idx]
        (region,) = (r for r in task["predictions"][0]["result"] if r["id"] == f"object-{obj_id}")
        rgba = brush.decode_rle(region["value"]["rle"]).reshape(*mask.shape, 4)
        np.testing.assert_array_equal(rgba[..., 3] > 0, mask)


# Datumaro, where it is installed.


def read_by_datumaro(path: Path, name: str) -> Seen:
    datumaro = pytest.importorskip("datumaro", reason="needs the datumaro package")
    dataset = datumaro.Dataset.import_from(str(path), name)
    categories = dataset.categories()[datumaro.AnnotationType.label]
    seen: Seen = {}
    for item in dataset:
        for annotation in item.annotations:
            key = int(item.id[-5:]), int(annotation.attributes["track_id"])
            if annotation.type == datumaro.AnnotationType.bbox:
                continue  # beside the mask
            if annotation.type == datumaro.AnnotationType.polygon:
                if annotation.attributes.get("outside"):
                    continue
                height, width = moving_squares(1)[0].size_hw
                rles = coco_mask.frPyObjects([annotation.points], height, width)
                mask = coco_mask.decode(rles)[..., 0].astype(bool)
            else:
                mask = np.asarray(annotation.image).astype(bool)
            seen[key] = (mask, categories[annotation.label].name)
    return seen


@pytest.mark.parametrize(
    ("name", "datumaros"),
    [
        ("coco", "coco_instances"),
        ("coco:polygons", "coco_instances"),
        ("mots", "mots"),
        ("cvat-images", "cvat"),
        ("cvat-images:polygons", "cvat"),
        ("cvat:polygons", "cvat"),
    ],
)
def test_datumaro_reads(tmp_path: Path, name: str, datumaros: str) -> None:
    frames = moving_squares(4)
    labels = {1: "dog", 2: "cat"}
    path = written(tmp_path, frames, name, labels=labels)
    images = tmp_path / "images"
    images.mkdir()
    for masks in frames:
        cv2.imwrite(str(images / f"{masks.frame_idx:05d}.jpg"), np.zeros((*masks.size_hw, 3), np.uint8))
    if datumaros == "coco_instances":
        (tmp_path / "annotations").mkdir()
        path = path.rename(tmp_path / "annotations/instances_all.json").parent.parent
    assert_same(read_by_datumaro(path, datumaros), frames, labels)


# TrackEval, where it is installed (`pip install --no-deps trackeval`; its OpenCV is not ours).


def test_trackeval_reads_mots(tmp_path: Path) -> None:
    trackeval = pytest.importorskip("trackeval", reason="needs the trackeval package")
    frames = moving_squares(6)
    path = written(tmp_path, frames, "mots", labels={1: "pedestrian", 2: "pedestrian"})
    text = (path / "instances.txt").read_text()
    for file in ("gt/clip/gt/gt.txt", "trackers/ours/data/clip.txt"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(text)
    dataset = trackeval.datasets.MOTSChallenge(
        {
            "GT_FOLDER": f"{tmp_path}/gt/",
            "TRACKERS_FOLDER": f"{tmp_path}/trackers/",
            "SEQ_INFO": {"clip": len(frames)},
            "SKIP_SPLIT_FOL": True,
            "PRINT_CONFIG": False,
        }
    )
    raw = dataset.get_raw_seq_data("ours", "clip")
    seen = {
        (frame_idx, int(number) % 1000): coco_mask.decode(rle).astype(bool)
        for frame_idx in range(raw["num_timesteps"])
        for number, rle in zip(raw["tracker_ids"][frame_idx], raw["tracker_dets"][frame_idx], strict=True)
    }
    wanted = {(frame_idx, obj_id): mask for frame_idx, obj_id, mask, _ in visible(frames)}
    assert seen.keys() == wanted.keys()
    assert all((seen[key] == mask).all() for key, mask in wanted.items())
    data = dataset.get_preprocessed_seq_data(raw, "pedestrian")
    assert trackeval.metrics.HOTA().eval_sequence(data)["HOTA"].mean() == 1.0


# FiftyOne, which needs a database to be tried with: what its page says is run with a stand-in.


def test_the_lines_for_fiftyone_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs/fiftyone.md"
    code = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[0]
    prompts = {"objects": [{"id": 7, "label": "dog", "prompts": [{"frame": 0, "box": [5, 5, 20, 15]}]}]}
    images = [np.full((48, 64, 3), 8 * k, np.uint8) for k in range(4)]
    vidseg.track(images, prompts, tracker=FakeTracker(), out=tmp_path / "runs/video", formats=["rle"])
    samples: list[Any] = []
    stand_in = types.ModuleType("fiftyone")
    kinds: dict[str, Any] = {
        "Sample": lambda **facts: types.SimpleNamespace(frames={}, **facts),
        "Frame": types.SimpleNamespace,
        "Detections": types.SimpleNamespace,
        "Detection": types.SimpleNamespace,
        "Dataset": lambda name: types.SimpleNamespace(add_sample=samples.append),
    }
    for name, kind in kinds.items():
        setattr(stand_in, name, kind)
    monkeypatch.setitem(sys.modules, "fiftyone", stand_in)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    (sample,) = samples
    seen = {}
    for number, frame in sample.frames.items():
        for thing in frame.objects.detections:
            x, y, w, h = np.rint(np.array(thing.bounding_box) * (64, 48, 64, 48)).astype(int)
            mask = np.zeros((48, 64), bool)
            mask[y : y + h, x : x + w] = thing.mask
            seen[number - 1, thing.index] = (mask, thing.label)
    assert_same(seen, list(vidseg.read_run("runs/video")), {7: "dog"})
    assert len(seen) == 4
