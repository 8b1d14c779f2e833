"""`vidseg segment` and `vidseg everything` as a person calls them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from safetensors.torch import load_file, save_file

import vidseg
import vidseg.pipeline.stills.run as stills_run
from vidseg.cli import main
from vidseg.masks import box_xywh, iou
from vidseg.pipeline.mask_files import read_mask
from vidseg.pipeline.stills.formats import encode
from vidseg.pipeline.stills.masks import PictureMasks, Thing, smaller_on_top
from vidseg.pipeline.stills.pictures import list_pictures
from vidseg.samplers import Found
from vidseg.trackers.choices import DEFAULT_TRACKER
from vidseg.trackers.image import load
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.options import TrackerOptions

SIZE_HW = (60, 80)
WEIGHTS = Path(vidseg.__file__).parent / "weights" / "vidseg-nano.safetensors"
FEW = ("--set", "points_per_side=3")


@pytest.fixture(scope="module", autouse=True)
def _default_model_is_built_once() -> Iterator[None]:
    """Runs that ask for it alike share the default model, as building it takes longer than most of them."""
    build = load.build_segmenter
    built: dict[str, ImageSegmenter] = {}

    def build_once(options: TrackerOptions) -> ImageSegmenter:
        if options.weights is not None or options.tracker != DEFAULT_TRACKER:
            return build(options)
        asked = repr(options)
        if asked not in built:
            built[asked] = build(options)
        return built[asked]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "build_segmenter", build_once)
        yield


def with_disk(x: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """A red disk on a grey ground, and its mask."""
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    mask = (columns - x) ** 2 + (rows - 30) ** 2 < 15**2
    image = np.full((*SIZE_HW, 3), 120, np.uint8)
    image[mask] = (200, 30, 40)
    return image, mask


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a folder of two pictures."""
    (tmp_path / "photos").mkdir()
    for name, x in (("1", 30), ("2", 45)):
        Image.fromarray(with_disk(x)[0]).save(tmp_path / "photos" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def label_map(path: str) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def test_segment_writes_one_picture(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["segment", "photos/1.png", "--box", "14,14,46,46", "--points", "75,5", "--out", "out"]
    assert main(call) == 0
    assert capsys.readouterr().out.splitlines() == [
        "done: 1 picture, 2 objects found",
        "  out/masks/",
        "  out/overlay/",
        "  out/rle/",
    ]
    assert iou(label_map("out/masks/1.png") == 1, with_disk(30)[1]) > 0.8
    record = json.loads(Path("out/rle/1.json").read_text())
    assert record["image"] == {"file_name": "1.png", "image_id": 0, "height": 60, "width": 80}
    first, second = record["annotations"]
    mask = coco_mask.decode(first["segmentation"])
    assert first["area"] == mask.sum()
    assert first["bbox"] == coco_mask.toBbox(first["segmentation"]).tolist()
    assert second["point_coords"] == [[75.0, 5.0]]
    assert Image.open("out/overlay/1.jpg").size == (80, 60)
    assert not Path("out/.state").exists()


def test_segment_takes_the_prompts_of_each_picture(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/2.json").write_text(
        '{"objects": [{"id": 7, "label": "disk", "prompts": [{"frame": 0, "box": [29, 14, 61, 46]}]}]}'
    )
    assert main(["segment", "photos", "--out", "out", "--format", "png,coco"]) == 0
    assert "left out, as there is no prompt file: 1.png" in capsys.readouterr().err
    assert sorted(path.name for path in Path("out").rglob("*.*")) == ["2.png", "masks.coco.json", "run.json"]
    assert iou(label_map("out/masks/2.png") == 7, with_disk(45)[1]) > 0.8
    coco = COCO("out/masks.coco.json")
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    assert coco.loadCats(annotation["category_id"])[0]["name"] == "disk"
    assert iou(coco.annToMask(annotation).astype(bool), with_disk(45)[1]) > 0.8


def test_segment_takes_one_prompt_file_for_all(place: Path) -> None:
    Path("box.json").write_text('{"box": [14, 14, 61, 46]}')
    assert (
        main(["segment", "photos", "--prompt", "box.json", "--out", "out", "--format", "png", "--quiet"]) == 0
    )
    assert sorted(path.name for path in Path("out/masks").iterdir()) == ["1.png", "2.png"]


def test_everything_finds_the_disk(place: Path) -> None:
    call = ["everything", "photos", "--out", "out", "--format", "png,rle,coco", *FEW, "--quiet"]
    assert main(call) == 0
    for name, x in (("1", 30), ("2", 45)):
        record = json.loads(Path(f"out/rle/{name}.json").read_text())
        masks = [coco_mask.decode(item["segmentation"]).astype(bool) for item in record["annotations"]]
        assert max(iou(mask, with_disk(x)[1]) for mask in masks) > 0.8
        ids = set(np.unique(label_map(f"out/masks/{name}.png"))) - {0}
        assert ids <= {item["id"] for item in record["annotations"]}
    coco = COCO("out/masks.coco.json")
    assert [coco.imgs[number]["file_name"] for number in (1, 2)] == ["1.png", "2.png"]
    assert len(coco.getAnnIds(imgIds=[2])) == len(record["annotations"])


def test_everything_takes_a_detectors_boxes(place: Path) -> None:
    # All names are numbers, so they are what image_id means.
    detections = [
        {"image_id": 2, "category_id": 1, "bbox": [29, 14, 32, 32], "score": 0.9},
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.1},
    ]
    Path("boxes.json").write_text(json.dumps(detections))
    assert main(["everything", "photos", "--detector", "boxes.json", "--out", "out", "--format", "rle"]) == 0
    counts = [len(json.loads(Path(f"out/rle/{n}.json").read_text())["annotations"]) for n in (1, 2)]
    assert counts == [0, 1]


def test_what_a_detector_says_of_its_boxes_is_kept(place: Path) -> None:
    boxes = {
        "cup": [0, 0, 20, 20],
        "far": [100, 0, 120, 20],
        "unsure": [60, 40, 80, 60],
        "disk": [14, 14, 46, 46],
    }
    detections = [
        {"frame": 1, "box": box, "label": label, "score": 0.1 if label == "unsure" else 0.9}
        for label, box in boxes.items()
    ]
    Path("boxes.json").write_text(json.dumps({"detections": detections}))
    call = ["everything", "photos", "--detector", "boxes.json", "--out", "out", "--format", "rle,coco"]
    assert main([*call, "--set", "min_mask_region_area=2", "--quiet"]) == 0
    found = {a.get("label"): a for a in json.loads(Path("out/rle/1.json").read_text())["annotations"]}
    assert set(found) == {"cup", "disk"}
    assert iou(coco_mask.decode(found["disk"]["segmentation"]).astype(bool), with_disk(30)[1]) > 0.8
    assert {category["name"] for category in COCO("out/masks.coco.json").dataset["categories"]} >= {
        "cup",
        "disk",
    }


@pytest.mark.parametrize(
    ("names", "ids"), [(("7", "139"), [7, 139]), (("a", "b"), [0, 1]), (("1", "01"), [0, 1])]
)
def test_a_picture_has_one_id_in_all_files(place: Path, names: tuple[str, str], ids: list[int]) -> None:
    for name in names:
        Image.fromarray(with_disk(30)[0]).save(place / f"{name}.new.png")
    for old in Path("photos").iterdir():
        old.unlink()
    for name in names:
        (place / f"{name}.new.png").rename(place / "photos" / f"{name}.png")
    call = ["segment", "photos", "--box", "14,14,46,46", "--out", "out", "--format", "rle,coco", "--quiet"]
    assert main(call) == 0
    records = [json.loads(path.read_text())["image"] for path in Path("out/rle").iterdir()]
    by_name = {record["file_name"]: record["image_id"] for record in records}
    assert sorted(by_name.values()) == ids
    coco = COCO("out/masks.coco.json")
    assert {image["file_name"]: number for number, image in coco.imgs.items()} == by_name
    assert sorted(annotation["image_id"] for annotation in coco.anns.values()) == ids


def test_masks_of_other_boxes_are_not_mixed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"image_id": 2, "category_id": 1, "bbox": [29, 14, 32, 32], "score": 0.9}
    Path("boxes.json").write_text(json.dumps([entry]))
    call = ["everything", "photos", "--detector", "boxes.json", "--out", "out", "--quiet"]
    assert main(call) == 0
    assert main([*call, "--resume"]) == 0
    assert main([*call, "--resume", "--text", "1"]) == 2
    assert "differs from this call in text" in capsys.readouterr().err
    Path("boxes.json").write_text(json.dumps([{**entry, "score": 0.8}]))
    assert main([*call, "--resume"]) == 2
    assert "differs from this call in the content of the detector" in capsys.readouterr().err


def test_a_file_none_of_whose_boxes_is_used_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"image_id": 7, "category_id": 1, "bbox": [29, 14, 32, 32], "score": 0.9}
    Path("det.json").write_text(json.dumps([entry]))
    assert main(["everything", "photos", "--detector", "det.json", "--out", "out", "--json"]) == 0
    printed = capsys.readouterr()
    told = "no box of 'det.json' lies in a picture that was looked at"
    assert printed.err == f"vidseg: warning: {told}\n"
    assert json.loads(printed.out)["warnings"] == [told]


def test_a_bad_picture_takes_no_other_down(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/3.png").write_text("no picture")
    call = ["everything", "photos", "--out", "out", "--format", "png", *FEW]
    assert main([*call, "--json"]) == 3
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert (summary["status"], summary["pictures"]) == ("some failed", 2)
    assert list(summary["failed"]) == ["3.png"]
    assert "vidseg: 3.png: the picture 'photos/3.png' cannot be read" in printed.err
    Image.fromarray(with_disk(20)[0]).save("photos/3.png")
    assert main([*call, "--resume"]) == 0
    assert Path("out/masks/3.png").exists()


def test_a_killed_run_goes_on_where_it_stopped(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = ["everything", "photos", "--format", "png,rle,overlay,coco", *FEW, "--quiet"]
    assert main([*call, "--out", "whole"]) == 0
    written: list[str] = []
    write = stills_run.StillsFolder.write

    def write_until_killed(folder: Any, name: str, picture: Any, data: bytes) -> None:
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(name)
        write(folder, name, picture, data)

    monkeypatch.setattr(stills_run.StillsFolder, "write", write_until_killed)
    assert main([*call, "--out", "out"]) == 130
    assert not Path("out/masks.coco.json").exists()
    monkeypatch.setattr(stills_run.StillsFolder, "write", write)
    found: list[str] = []
    read = stills_run.Picture.read
    monkeypatch.setattr(stills_run.Picture, "read", lambda self: found.append(self.name) or read(self))
    assert main([*call, "--out", "out", "--resume"]) == 0
    assert found == ["2"], "the first picture was whole"
    for path in Path("whole").rglob("*.*"):
        if path.name != "run.json":
            assert path.read_bytes() == (Path("out") / path.relative_to("whole")).read_bytes()


def test_a_resumed_run_does_a_picture_again_whose_prompts_or_pixels_are_newer(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, x in (("1", 30), ("2", 45)):
        Path(f"photos/{name}.json").write_text(json.dumps({"box": [x - 16, 14, x + 16, 46]}))
    call = ["segment", "photos", "--out", "out", "--quiet"]
    assert main(call) == 0
    found: list[str] = []
    read = stills_run.Picture.read
    monkeypatch.setattr(stills_run.Picture, "read", lambda self: found.append(self.name) or read(self))
    assert main([*call, "--resume"]) == 0
    assert found == []
    Path("photos/2.json").write_text(json.dumps({"box": [1, 1, 12, 12]}))
    later = Path("out/masks/2.png").stat().st_mtime + 1
    os.utime("photos/2.json", (later, later))
    assert main([*call, "--resume"]) == 0
    assert found == ["2"]
    assert not label_map("out/masks/2.png")[30, 45]
    os.utime("photos/1.png", (later, later))
    assert main([*call, "--resume"]) == 0
    assert "1" in found


def test_outputs_are_not_mixed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["everything", "photos", "--out", "out", "--format", "png", *FEW, "--quiet"]
    assert main(call) == 0
    assert main(call) == 2
    assert "holds the outputs of another run (done)" in capsys.readouterr().err
    assert main([*call, "--resume", "--set", "points_per_side=2"]) == 2
    assert "differs from this call in settings" in capsys.readouterr().err
    Path("out/masks/mine.txt").write_text("kept")
    assert main([*call, "--overwrite", "--set", "points_per_side=2"]) == 0
    assert Path("out/masks/mine.txt").exists()
    (place / "other" / "masks").mkdir(parents=True)
    assert main([*call[:3], "other", *call[4:]]) == 2
    assert "holds 'masks', but no run.json" in capsys.readouterr().err


def test_masks_of_other_weights_are_not_mixed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = load_file(WEIGHTS)
    Path("run").mkdir()
    save_file(own, "run/weights.safetensors")
    call = ["segment", "photos", "--box", "14,14,46,46", "--out", "out", "--quiet", "--weights"]
    assert main([*call, "run/weights.safetensors"]) == 0
    Path("run").rename("moved")
    assert main([*call, "moved/weights.safetensors", "--resume"]) == 0
    own["smooth.0.weight"] = own["smooth.0.weight"] * 1.01  # as where a run was trained for longer
    save_file(own, "moved/weights.safetensors")
    assert main([*call, "moved/weights.safetensors", "--resume"]) == 2
    assert "differs from this call in weights" in capsys.readouterr().err


def test_masks_of_another_yaml_of_one_name_are_not_mixed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (WEIGHTS.parents[1] / "configs" / "vidseg-nano.yaml").read_text(encoding="utf-8")
    text = text.replace("../weights/vidseg-nano.safetensors", str(WEIGHTS))
    Path("own.yaml").write_text(text, encoding="utf-8")
    call = ["everything", "photos", "--tracker", "own.yaml", "--out", "out", "--quiet", *FEW]
    assert main(call) == 0
    Path("own.yaml").write_text(text.replace("pred_iou_thresh: 0.29", "pred_iou_thresh: 0.3"))
    assert main([*call, "--resume"]) == 2
    assert "differs from this call in configuration of the tracker" in capsys.readouterr().err


def test_many_objects_need_16_bits(place: Path) -> None:
    masks = np.zeros((300, *SIZE_HW), bool)
    masks.reshape(300, -1)[np.arange(300), np.arange(300)] = True
    things = [Thing(n, Found(mask, box_xywh(mask), 0.9, 1.0, None, None)) for n, mask in enumerate(masks, 1)]
    (picture,) = list_pictures(Path("photos/1.png"))
    of = PictureMasks(picture.read(), things, smaller_on_top(things, SIZE_HW))
    Path("many.png").write_bytes(encode("png", picture, of, tags=False))
    assert read_mask(Path("many.png"), "here").ids == list(range(1, 301))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["segment", "photos"], "nothing says what to segment"),
        (["segment", "none.png", "--box", "1,1,9,9"], "no picture or folder 'none.png'"),
        (["segment", "box.txt", "--box", "1,1,9,9"], "'box.txt' is no picture by its name"),
        (["segment", "photos/1.png", "--box", "100,100,120,120"], "outside"),
        (["segment", "photos", "--prompt", '{"mask": "m.png"}'], "a mask is no prompt for a picture"),
        (["segment", "photos", "--box", "1,1,9,9", "--tracker", "flow"], "'flow' is no image model"),
        (
            ["segment", "photos", "--box", "1,1,9,9", "--format", "ytvis"],
            "unknown format of pictures 'ytvis'",
        ),
        (["everything", "photos", "--sampler", "gird"], "did you mean 'grid'"),
        (["everything", "photos", "--set", "points_per_sied=3"], "unknown key 'points_per_sied'"),
        (["everything", "photos", "--set", "points_per_side=many"], "points_per_side"),
        (["everything", "photos", "--set", "16"], "no setting: NAME=VALUE"),
        (["everything", "photos", "--sampler", "boxes"], "needs a detector"),
        (
            ["everything", "photos", "--sampler", "grid", "--detector", "d.json"],
            "for the sampler 'boxes', not",
        ),
        (["everything", "photos", "--text", "cup"], "--text needs a detector"),
        (["everything", "photos", "--resume", "--overwrite"], "exclude each other"),
    ],
)
def test_wrong_calls_are_told(
    call: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("box.txt").write_text("text")
    Image.fromarray(with_disk(30)[1]).save("m.png")
    assert main(call) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) <= 3
    assert not Path("runs").exists() or not list(Path("runs").rglob("*.png"))


def test_a_link_to_a_picture_that_is_not_there_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos/3.png").symlink_to("gone.png")
    assert main(["segment", "photos", "--box", "14,14,46,46", "--out", "out", "--format", "png"]) != 0
    error = capsys.readouterr().err
    assert "the picture 'photos/3.png' cannot be read (No such file or directory)" in error
    assert sorted(path.name for path in Path("out/masks").iterdir()) == ["1.png", "2.png"]


def test_a_prompt_outside_of_the_only_picture_leaves_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["segment", "photos/1.png", "--out", "new/out", "--format", "png", "--quiet"]
    assert main([*call, "--box", "100,100,120,120"]) == 2
    assert "outside" in capsys.readouterr().err
    assert not Path("new").exists()
    assert main([*call, "--box", "14,14,46,46"]) == 0
    before = Path("new/out/masks/1.png").read_bytes()
    assert main([*call, "--box", "100,100,120,120", "--overwrite"]) == 2
    assert Path("new/out/masks/1.png").read_bytes() == before
    assert main([*call, "--box", "14,14,61,46", "--overwrite"]) == 0
    assert json.loads(Path("new/out/run.json").read_text())["status"] == "done"


def test_a_resumed_run_says_on_which_pictures_it_found_objects(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["segment", "photos", "--box", "14,14,46,46", "--out", "out", "--format", "png"]
    assert main(call) == 0
    assert capsys.readouterr().out.startswith("done: 2 pictures, 2 objects found\n")
    Path("out/masks/2.png").unlink()
    assert main([*call, "--resume"]) == 0
    assert capsys.readouterr().out.startswith(
        "done: 2 pictures, 1 object found on the 1 picture of this call\n"
    )
    assert main([*call, "--resume", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["pictures"], summary["pictures_now"], summary["objects"]) == (2, 0, 0)
