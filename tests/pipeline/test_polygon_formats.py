"""Masks as polygons: what is read back by each tool's own rule is the mask, with its holes and its parts."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from support.exports import LABELS, Seen, assert_same, expected, read_coco, written
from support.masklets import frame_masks, masklets, moving_squares, one_mask
from vidseg.pipeline.writers import FrameMasks
from vidseg.pipeline.writers.outlines import centre_polygon, edge_polygons

few = settings(max_examples=40)
any_mask = st.tuples(st.integers(1, 23), st.integers(1, 23)).flatmap(one_mask)


def ring_and_dot() -> np.ndarray:
    """Two parts, one with two holes, one of which holds a part of its own."""
    mask = np.zeros((48, 64), bool)
    mask[4:40, 4:40] = True
    mask[10:30, 8:24] = False
    mask[15:20, 12:18] = True
    mask[33:36, 30:36] = False
    mask[42:46, 50:60] = True
    return mask


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2


def filled(polygon: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(canvas, [polygon.astype(np.int32)], 1)
    return canvas > 0


@few
@given(mask=any_mask)
def test_edge_polygons_are_the_very_mask(mask: np.ndarray) -> None:
    polygons = edge_polygons(mask)
    assert sum(map(area, polygons)) == mask.sum()
    flat = [polygon.ravel().tolist() for polygon in polygons]
    read = (
        coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, *mask.shape))) if flat else mask & False
    )
    np.testing.assert_array_equal(read, mask)
    parts, _ = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    assert len(polygons) == parts - 1


def test_edge_polygons_keep_holes_and_parts() -> None:
    polygons = edge_polygons(ring_and_dot())
    assert [area(polygon) for polygon in polygons] == [36 * 36 - 20 * 16 - 3 * 6, 5 * 6, 4 * 10]


@few
@given(mask=any_mask)
def test_centre_polygon_fills_the_mask_and_at_most_the_lines_between_its_parts(mask: np.ndarray) -> None:
    if not mask.any():
        return
    read = filled(centre_polygon(mask), mask.shape)
    assert (read | mask == read).all()
    parts, _ = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    if parts == 2:
        np.testing.assert_array_equal(read, mask)


def test_centre_polygon_joins_parts_by_a_line_of_one_pixel() -> None:
    mask = ring_and_dot()
    extra = filled(centre_polygon(mask), mask.shape) & ~mask
    gaps = [2 + 10, 4]  # down to the dot: 2 rows; right: 10 columns; into the hole: 4 columns
    assert 0 < extra.sum() <= sum(gaps)


# The formats.


@pytest.mark.parametrize("frames", [moving_squares(4), [frame_masks(0, np.array([ring_and_dot()]))]])
def test_coco_polygons_come_back(tmp_path: Path, frames: list[FrameMasks]) -> None:
    path = written(tmp_path, frames, "coco:polygons")
    assert_same(read_coco(path), frames)
    annotations = json.loads(path.read_text())["annotations"]
    assert all(isinstance(annotation["segmentation"], list) for annotation in annotations)


@few
@given(frames=masklets())
def test_any_coco_polygons_come_back(
    tmp_path_factory: pytest.TempPathFactory, frames: list[FrameMasks]
) -> None:
    path = written(tmp_path_factory.mktemp("coco"), frames, "coco:polygons")
    assert_same(read_coco(path), frames)


def read_cvat_polygons(path: Path) -> Seen:
    """CVAT makes masks of polygons by pycocotools; those of one object and frame are its parts."""
    root = ElementTree.parse(path).getroot()
    size_hw = tuple(int(root.findtext(f"meta/task/original_size/{side}", "")) for side in ("height", "width"))
    assert {label.text for label in root.findall("meta/task/labels/label/type")} <= {"polygon"}
    num_frames = int(root.findtext("meta/task/size", ""))
    seen: Seen = {}
    for track in root.findall("track"):
        first, *rest = track.findall("polygon")
        frame_idx = int(first.attrib["frame"])
        assert [(int(shape.attrib["frame"]), shape.attrib["outside"]) for shape in rest] == (
            [(frame_idx + 1, "1")] if frame_idx + 1 < num_frames else []
        )
        flat = [float(side) for point in first.attrib["points"].split(";") for side in point.split(",")]
        part = coco_mask.decode(coco_mask.frPyObjects([flat], *size_hw))[..., 0].astype(bool)
        key = frame_idx, int(track.attrib["id"])
        before = seen.get(key, (np.zeros(size_hw, bool), ""))[0]
        assert not (before & part).any()
        seen[key] = (before | part, track.attrib["label"])
    return seen


@few
@given(frames=masklets())
def test_cvat_polygons_come_back(tmp_path_factory: pytest.TempPathFactory, frames: list[FrameMasks]) -> None:
    assert_same(read_cvat_polygons(written(tmp_path_factory.mktemp("cvat"), frames, "cvat:polygons")), frames)


def read_yolo(path: Path, frames: list[FrameMasks]) -> Seen:
    """By Ultralytics' documented format, filled as it fills polygons: points times the size, cut to integers.

    The format has no ids: a line is taken for the object of its class whose mask it covers.
    """
    document = yaml.safe_load((path / "data.yaml").read_text())
    height, width = frames[0].size_hw
    wanted = expected(frames)
    seen: Seen = {}
    for masks in frames:
        lines = (path / f"labels/{masks.frame_idx:05d}.txt").read_text().splitlines()
        assert len(lines) == sum(frame_idx == masks.frame_idx for frame_idx, _ in wanted)
        for text in lines:
            number, *shares = text.split()
            assert len(shares) >= 6
            assert all(0 <= float(share) <= 1 for share in shares)
            points = np.array(shares, float).reshape(-1, 2) * (width, height)
            read = filled(points, (height, width))
            label = document["names"][int(number)]
            for (frame_idx, obj_id), (mask, known) in wanted.items():
                key = frame_idx, obj_id
                if (
                    frame_idx == masks.frame_idx
                    and known == label
                    and key not in seen
                    and (read >= mask).all()
                ):
                    seen[key] = (read, label)
                    break
    return seen


def test_yolo_labels_of_objects_in_one_piece_come_back(tmp_path: Path) -> None:
    frames = moving_squares(4)
    path = written(tmp_path, frames, "yolo")
    assert_same(read_yolo(path, frames), frames)
    document = yaml.safe_load((path / "data.yaml").read_text())
    assert document == {"train": "images", "val": "images", "names": {0: LABELS[1], 1: LABELS[2]}}


@few
@given(frames=masklets())
def test_any_yolo_labels_cover_their_masks(
    tmp_path_factory: pytest.TempPathFactory, frames: list[FrameMasks]
) -> None:
    path = written(tmp_path_factory.mktemp("yolo"), frames, "yolo")
    assert read_yolo(path, frames).keys() == expected(frames).keys()


def test_yolo_labels_are_named_as_the_frames(tmp_path: Path) -> None:
    frames = moving_squares(3)
    path = written(tmp_path, frames, "yolo", frame_files=["b.jpg", "c.png", "d.jpeg"])
    assert sorted(file.name for file in (path / "labels").iterdir()) == ["b.txt", "c.txt", "d.txt"]


def test_supervision_reads_yolo(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="needs the supervision package")
    frames = moving_squares(4)
    path = written(tmp_path, frames, "yolo")
    (path / "images").mkdir()
    for masks in frames:
        cv2.imwrite(str(path / f"images/{masks.frame_idx:05d}.jpg"), np.zeros((*masks.size_hw, 3), np.uint8))
    dataset = supervision.DetectionDataset.from_yolo(
        str(path / "images"), str(path / "labels"), str(path / "data.yaml"), force_masks=True
    )
    seen: Seen = {}
    for name, _, detections in dataset:
        frame_idx = int(Path(name).stem)
        rows = [row for row, mask in enumerate(frames[frame_idx].masks) if mask.any()]
        assert len(detections) == len(rows)
        for row, mask, number in zip(rows, detections.mask, detections.class_id, strict=True):
            seen[frame_idx, frames[frame_idx].obj_ids[row]] = (mask, dataset.classes[number])
    assert_same(seen, frames)
