"""mIoU and AP of image models on made COCO and LVIS data, against scripts that share no code with ours."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import vidseg
from vidseg import cli
from vidseg.errors import InputError
from vidseg.eval.images.coco import open_pictures
from vidseg.eval.images.detected import read_detections
from vidseg.eval.images.evaluate import ImageEvaluationOptions, evaluate_images
from vidseg.eval.metrics.lvis import lvis_ap
from vidseg.pipeline.made_video import MadeVideo
from vidseg.trackers.configs import read_config

SIZE = (96, 128)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of the made video with polygons, RLE and a crowd, and a detector's boxes."""
    root = tmp_path_factory.mktemp("coco")
    (root / "val2017").mkdir()
    (root / "annotations").mkdir()
    rng = np.random.default_rng(0)
    images, annotations, detections = [], [], []
    for image_id, (frame, truth) in enumerate(MadeVideo(num_frames=3, size_hw=SIZE), start=10):
        name = f"{image_id:012d}.png"
        assert frame.image is not None
        Image.fromarray(frame.image).save(root / "val2017" / name)
        images.append({"id": image_id, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        for obj_id in np.unique(truth[truth > 0]).tolist():
            encoded = rle.encode(np.asfortranarray(truth == obj_id))
            box = rle.toBbox(encoded).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1 + obj_id % 2,
                    "bbox": box,
                    "area": float(rle.area(encoded)),
                    "iscrowd": int(obj_id == 3 and image_id == 11),
                    "segmentation": {"size": list(SIZE), "counts": encoded["counts"].decode("ascii")},
                }
            )
            shaken = (np.array(box) + rng.uniform(-4, 4, 4)).round(2).tolist()
            detections.append(
                {"image_id": image_id, "category_id": 1 + obj_id % 2, "bbox": shaken}
                | {"score": round(float(rng.random()), 4)}
            )
        x, y, w, h = annotations[-1]["bbox"]
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotations.append({**annotations[-1], "id": len(annotations) + 1, "iscrowd": 0})
        annotations[-1]["segmentation"] = [corners]
        annotations.append({**annotations[-1], "id": len(annotations) + 1, "area": 0.5})
    detections.append({**detections[0], "bbox": [200.0, 10.0, 5.0, 5.0], "score": 0.3})
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations/instances_val2017.json").write_text(json.dumps(document), encoding="ascii")
    (root / "boxes.json").write_text(json.dumps(detections), encoding="ascii")
    return root


@pytest.fixture
def own_coco(coco: Path, tmp_path: Path) -> Path:
    """A copy of the data that a test may change."""
    return Path(shutil.copytree(coco, tmp_path / "data"))


def from_boxes(root: Path, out: Path) -> list[str]:
    """The call that evaluates prompts of boxes."""
    return ["eval", "coco-prompts", "--root", str(root), "--out", str(out), "--prompts", "box"]


def test_miou_is_that_of_a_script_of_its_own(coco: Path, tmp_path: Path) -> None:
    results = evaluate_images("coco-prompts", coco, tmp_path / "out")
    truth = COCO(str(coco / "annotations/instances_val2017.json"))
    segmenter = vidseg.load_image()
    ious: dict[str, list[float]] = {"box": [], "centre": []}
    for image in truth.dataset["images"]:
        embedding = segmenter.embed(np.array(Image.open(coco / "val2017" / image["file_name"])))
        for annotation in truth.imgToAnns[image["id"]]:
            if annotation["area"] < 1:
                continue
            x, y, w, h = annotation["bbox"]
            prompts: dict[str, Any] = {
                "box": {"box": [x, y, x + w, y + h]},
                "centre": {"points": [[x + w / 2, y + h / 2]], "labels": [1]},
            }
            mask = truth.annToMask(annotation) > 0
            for kind, prompt in prompts.items():
                answer = embedding.segment(**prompt)[0].mask
                ious[kind].append((answer & mask).sum() / ((answer | mask).sum() + 1e-7))
    assert len(ious["box"]) > 8
    for kind, values in ious.items():
        assert results["global"][f"mIoU {kind}"] == pytest.approx(np.mean(values), abs=1e-6)
    assert 0.3 < results["global"]["mIoU random"] < 1
    assert results["status"] == "done"


def test_ap_is_that_of_pycocotools_on_the_written_detections(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ImageEvaluationOptions(detections=coco / "boxes.json")
    results = evaluate_images("coco-detections", coco, out, options=options)
    truth = COCO(str(coco / "annotations/instances_val2017.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(out / "detections.json")), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert results["global"]["AP"] == pytest.approx(evaluation.stats[0], abs=1e-6)
    assert results["global"]["AR100"] == pytest.approx(evaluation.stats[8], abs=1e-6)
    assert 0.1 < results["global"]["AP"] < 1
    given = json.loads((coco / "boxes.json").read_text(encoding="ascii"))
    written = json.loads((out / "detections.json").read_text(encoding="utf-8"))
    assert sorted(d["score"] for d in written) == sorted(d["score"] for d in given)
    assert next(d for d in written if d["bbox"][0] == 200)["segmentation"]["size"] == list(SIZE)


def test_a_failed_picture_takes_no_other_down_and_is_tried_again(
    own_coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = own_coco / "val2017" / "000000000011.png"
    content = missing.read_bytes()
    missing.write_bytes(content[:100])
    call = from_boxes(own_coco, tmp_path / "out")
    assert cli.main(call) == 3
    told = capsys.readouterr()
    assert "000000000011.png" in told.err
    assert "1 failed" in told.out
    missing.write_bytes(content)
    lines = (tmp_path / "out/pictures.jsonl").read_text(encoding="utf-8")
    (tmp_path / "out/pictures.jsonl").write_text(lines + '{"image_id": 12, "err', encoding="utf-8")
    assert cli.main([*call, "--resume", "--json"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    whole = evaluate_images(
        "coco-prompts", own_coco, tmp_path / "whole", options=ImageEvaluationOptions(prompts=("box",))
    )
    assert resumed["global"] == whole["global"]
    assert cli.main([*call[:-1], "centre", "--resume"]) == 2
    assert "another prompts" in capsys.readouterr().err


def test_whatever_is_wrong_with_a_picture_the_others_count(
    own_coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = own_coco / "val2017" / "000000000011.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:60] + content[64:])  # Pillow finds a broken chunk: SyntaxError
    path = own_coco / "annotations/instances_val2017.json"
    document = json.loads(path.read_text(encoding="ascii"))
    of_picture = [a for a in document["annotations"] if a["image_id"] == 12]
    of_picture[0]["segmentation"] = [["a", "b"]]
    path.write_text(json.dumps(document), encoding="ascii")
    call = from_boxes(own_coco, tmp_path / "out")
    assert cli.main(call) == 3
    told = capsys.readouterr()
    assert "the picture cannot be read" in told.err
    assert "the picture 12 could not be evaluated" in told.err
    assert "1 pictures done, 2 failed" in told.out


def test_a_full_disk_takes_no_picture_that_is_done(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = from_boxes(coco, tmp_path)
    assert cli.main([*call, "--limit", "1"]) == 0
    before = (tmp_path / "pictures.jsonl").read_bytes()

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(Path, "write_text", lambda path, *_, **__: path.write_bytes(b"") and full(0))
    assert cli.main([*call, "--limit", "1", "--resume"]) == 1
    assert (tmp_path / "pictures.jsonl").read_bytes() == before


def test_an_evaluation_does_not_go_on_with_another_yaml_of_the_name(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vidseg-nano.yaml"
    said = read_config("vidseg-nano")[1]  # whose weights are a path from here
    path.write_text(json.dumps(said), encoding="utf-8")
    call = from_boxes(coco, tmp_path / "out")
    call += ["--limit", "1", "--tracker", str(path), "--quiet"]
    assert cli.main(call) == 0
    capsys.readouterr()
    path.write_text(json.dumps({**said, "image_size": 224}), encoding="utf-8")
    assert cli.main([*call, "--resume"]) == 2
    assert "another configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["coco-detections"], "--detections"),
        (["coco-prompts", "--prompts", "box,lasso"], "lasso"),
        (["coco-prompts", "--limit", "0"], "--limit"),
        (["coco-prompts", "--annotations", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_calls_are_told(
    call: list[str], message: str, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", *call, "--root", str(coco), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "the score nan is no number"),
        ({"score": "0.5"}, "the score '0.5' is no number"),
        ({"bbox": [1, 2, 3]}, "is not four numbers"),
        ({"bbox": None}, "is not four numbers"),
        ({"image_id": [10]}, "the image_id .* is not in the annotations"),
    ],
)
def test_detections_that_are_none_are_told_with_their_place(
    change: dict[str, Any], message: str, coco: Path, tmp_path: Path
) -> None:
    found = json.loads((coco / "boxes.json").read_text(encoding="ascii"))
    found[2].update(change)
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(found), encoding="ascii")
    with pytest.raises(InputError, match=message) as error:
        read_detections(path, open_pictures(coco))
    assert "detection 2" in str(error.value)


def test_detections_of_other_pictures_are_refused(coco: Path, tmp_path: Path) -> None:
    boxes = json.loads((coco / "boxes.json").read_text(encoding="ascii"))
    boxes[2]["image_id"] = 99
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes), encoding="ascii")
    with pytest.raises(InputError, match="99") as error:
        evaluate_images(
            "coco-detections", coco, tmp_path / "out", options=ImageEvaluationOptions(detections=path)
        )
    assert "detection 2" in str(error.value)


def made_lvis(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Pictures of rectangles, with categories that were not looked for and ones that are not exhaustive."""
    rng = np.random.default_rng(seed)
    images, annotations, found = [], [], []
    for image_id in range(1, 6):
        categories = rng.permutation(6) + 1
        images.append(
            {"id": image_id, "height": 200, "width": 200, "neg_category_ids": categories[4:5].tolist()}
            | {"not_exhaustive_category_ids": categories[:2].tolist()}
        )
        for category in categories[:4].tolist():
            for _ in range(int(rng.integers(1, 4))):
                x, y, w, h = rng.integers(0, 100), rng.integers(0, 100), *rng.integers(8, 100, 2)
                annotations.append(_rectangle(image_id, category, x, y, w, h))
                annotations[-1]["id"] = len(annotations)
                dx, dy = rng.integers(-6, 7, 2)
                moved = _rectangle(image_id, category, max(x + dx, 0), max(y + dy, 0), w, h)
                found.append({**moved, "score": float(rng.random())})
        for category in categories.tolist():
            x, y, w, h = rng.integers(0, 100), rng.integers(0, 100), *rng.integers(8, 100, 2)
            found.append({**_rectangle(image_id, category, x, y, w, h), "score": float(rng.random())})
    kinds = [{"id": i, "name": str(i), "frequency": "rcf"[i % 3]} for i in range(1, 7)]
    return {"images": images, "annotations": annotations, "categories": kinds}, found


def _rectangle(image_id: int, category: int, x: int, y: int, w: int, h: int) -> dict[str, Any]:
    mask = np.zeros((200, 200), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    encoded = rle.encode(mask)
    segmentation = {"size": [200, 200], "counts": encoded["counts"].decode("ascii")}
    area = int(rle.area(encoded))
    box = [float(v) for v in rle.toBbox(encoded)]
    return {"image_id": image_id, "category_id": category, "bbox": box, "area": area} | {
        "segmentation": segmentation
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lvis_ap_is_that_of_its_package(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package draws pictures with matplotlib, not needed here, and uses a name that NumPy dropped.
    for name in ("matplotlib", "matplotlib.pyplot", "matplotlib.patches"):
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
            monkeypatch.setattr(sys.modules[name], "Polygon", None, raising=False)
    monkeypatch.setattr(np, "float", float, raising=False)
    lvis = pytest.importorskip("lvis", reason="the package lvis is not installed")
    document, found = made_lvis(seed)
    truth = lvis.LVIS.__new__(lvis.LVIS)
    truth.logger = lvis.lvis.logging.getLogger("lvis")
    truth.dataset = json.loads(json.dumps(document))
    truth._create_index()
    evaluation = lvis.LVISEval(truth, lvis.LVISResults(truth, json.loads(json.dumps(found))), "segm")
    evaluation.run()
    expected = evaluation.get_results()
    mine = lvis_ap(document, found)
    assert mine["AR@300"] == pytest.approx(expected["AR@300"], abs=1e-9)
    for name, value in mine.items():
        if name in expected:
            assert value == pytest.approx(expected[name], abs=1e-9), name
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"} <= set(expected) & set(mine)
    assert 0 < mine["AP"] < 1
