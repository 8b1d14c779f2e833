"""Exchange formats, read back as the tools that define them read them; nothing may be lost on the way."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
import sys
import tarfile
import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from support.exports import LABELS, Seen, assert_same, facts, read_coco, written
from support.masklets import frame_masks, masklets, moving_squares, picture, visible
from vidseg import cli
from vidseg.errors import InputError, MissingExtraError
from vidseg.pipeline import run_record
from vidseg.pipeline.export import export
from vidseg.pipeline.formats import FORMATS, export_names
from vidseg.pipeline.writers import FrameMasks
from vidseg.pipeline.writers.cvat import encode_cvat_rle
from vidseg.pipeline.writers.finished import NO_LABEL
from vidseg.pipeline.writers.masklets import MaskletsWriter
from vidseg.pipeline.writers.png import PngWriter
from vidseg.trackers.contract import FrameResult

# Readers, by the rules of each format's own tools.


def read_ytvis(path: Path) -> Seen:
    """TrackEval's YouTubeVIS dataset, its ground truth: a mask for each timestep that is not null."""
    document = json.loads(path.read_text())
    (video,) = document["videos"]
    names = {category["id"]: category["name"] for category in document["categories"]}
    assert {name.split("/")[0] for name in video["file_names"]} == {"clip"}
    seen: Seen = {}
    for track in document["annotations"]:
        assert track["video_id"] == video["id"]
        for facts_over_time in (track["segmentations"], track["areas"], track["bboxes"]):
            assert len(facts_over_time) == video["length"] == len(video["file_names"])
        for timestep, rle in enumerate(track["segmentations"]):
            assert (rle is None) == (track["areas"][timestep] is None) == (track["bboxes"][timestep] is None)
            if rle:
                rle = coco_mask.frPyObjects(rle, track["height"], track["width"])
                mask = coco_mask.decode(rle).astype(bool)
                assert track["areas"][timestep] == mask.sum()
                assert track["bboxes"][timestep] == coco_mask.toBbox(rle).tolist()
                seen[timestep, track["id"]] = (mask, names[track["category_id"]])
    return seen


def read_sav(path: Path) -> Seen:
    """SA-V's own viewer (sav_utils.py): `masklet[frame]` holds an RLE for each object, maybe empty."""
    document = json.loads(path.read_text())
    assert len(document["masklet"]) == document["video_frame_count"]
    seen: Seen = {}
    for frame_idx, rles in enumerate(document["masklet"]):
        assert len(rles) == document["masklet_num"] == len(document["masklet_id"])
        for obj_id, rle in zip(document["masklet_id"], rles, strict=True):
            mask = coco_mask.decode(rle) > 0
            assert mask.shape == (document["video_height"], document["video_width"])
            if mask.any():
                seen[frame_idx, obj_id] = (mask, LABELS.get(obj_id, NO_LABEL))  # SA-V has no categories
    return seen


def read_cvat(path: Path) -> Seen:
    """CVAT's import of tracks of masks: the first keyframe of each, at its place in the frame."""
    root = ElementTree.parse(path).getroot()
    assert root.findtext("version") == "1.1"
    task = root.find("meta/task")
    assert task is not None
    assert task.findtext("mode") == "interpolation"
    num_frames = int(task.findtext("size", ""))
    size_hw = int(task.findtext("original_size/height", "")), int(task.findtext("original_size/width", ""))
    labels = {label.findtext("name") for label in task.findall("labels/label")}
    seen: Seen = {}
    for track in root.findall("track"):
        shapes = track.findall("mask")
        first = shapes[0].attrib
        assert (first["outside"], first["keyframe"]) == ("0", "1")
        frame_idx = int(first["frame"])
        # Shown until a shape says `outside`, so all but masks on the last frame have one right after them.
        assert [(int(s.attrib["frame"]), s.attrib["outside"]) for s in shapes[1:]] == (
            [(frame_idx + 1, "1")] if frame_idx + 1 < num_frames else []
        )
        x, y, w, h = (int(first[side]) for side in ("left", "top", "width", "height"))
        runs = [int(run) for run in first["rle"].split(",")]
        assert sum(runs) == w * h
        mask = np.zeros(size_hw, bool)
        mask[y : y + h, x : x + w] = np.repeat(np.arange(len(runs)) % 2, runs).reshape(h, w)
        assert track.attrib["label"] in labels
        (attribute,) = shapes[0].findall("attribute")
        assert attribute.attrib["name"] == "track_id"
        assert attribute.text == track.attrib["id"] == track.attrib["group_id"]
        seen[frame_idx, int(track.attrib["id"])] = (mask, track.attrib["label"])
    return seen


READERS: dict[str, Callable[[Path], Seen]] = {
    "coco": read_coco,
    "ytvis": read_ytvis,
    "sav": read_sav,
    "cvat": read_cvat,
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=40)
@given(frames=masklets())
def test_masks_ids_and_labels_come_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, frames: list[FrameMasks]
) -> None:
    assert_same(READERS[name](written(tmp_path_factory.mktemp(name), frames, name)), frames)


@settings(max_examples=40)
@given(frames=masklets())
def test_mot_boxes_come_back(tmp_path_factory: pytest.TempPathFactory, frames: list[FrameMasks]) -> None:
    """As TrackEval reads MOTChallenge: time, id, box and confidence by their column; all counted from 1."""
    path = written(tmp_path_factory.mktemp("mot"), frames, "mot")
    seen = {}
    with open(path, newline="") as file:
        for row in csv.reader(file):
            assert len(row) == 10
            assert row[7:] == ["-1", "-1", "-1"]
            seen[int(row[0]) - 1, int(row[1])] = ([float(side) for side in row[2:6]], float(row[6]))
    wanted = {}
    for frame_idx, obj_id, mask, score in visible(frames):
        ys, xs = np.nonzero(mask)
        box = [xs.min() + 1, ys.min() + 1, np.ptp(xs) + 1, np.ptp(ys) + 1]
        wanted[frame_idx, obj_id] = (box, score)
    assert seen == wanted


@given(frames=masklets())
def test_cvat_runs_go_along_the_rows(frames: list[FrameMasks]) -> None:
    for _, _, mask, _ in visible(frames):
        runs = encode_cvat_rle(mask)
        assert len(runs) == 1 or min(runs[1:]) > 0
        np.testing.assert_array_equal(np.repeat(np.arange(len(runs)) % 2, runs), mask.ravel())


def test_cvat_runs_of_the_manuals_example() -> None:
    runs = [3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3]
    mask = (np.repeat(np.arange(len(runs)) % 2, runs) > 0).reshape(15, 13)
    assert encode_cvat_rle(mask) == runs


@settings(max_examples=40)
@given(frames=masklets(), first_id=st.sampled_from([1, 300]), are_found=st.booleans())
def test_tar_unpacks_to_what_png_writes(
    tmp_path_factory: pytest.TempPathFactory, frames: list[FrameMasks], first_id: int, are_found: bool
) -> None:
    """Objects are known when the run starts, or found on the way."""
    out = tmp_path_factory.mktemp("tar")
    frames = [
        dataclasses.replace(masks, obj_ids=[obj_id + first_id for obj_id in masks.obj_ids])
        for masks in frames
    ]
    labels = {} if are_found else dict.fromkeys(frames[0].obj_ids, "")
    writer = PngWriter(out / "png", facts(frames, labels=labels))
    for masks in frames:
        writer.write(picture(masks), masks)
    with tarfile.open(written(out, frames, "tar", labels=labels)) as tar:
        names = tar.getnames()
        tar.extractall(out / "unpacked", filter="data")
    assert len(set(names)) == len(names)
    pictures = {path.relative_to(out / "png"): path.read_bytes() for path in out.glob("png/**/*.png")}
    assert pictures == {
        path.relative_to(out / "unpacked"): path.read_bytes() for path in out.glob("unpacked/**/*.png")
    }


# What else a format holds.


def test_coco_keeps_scores_times_and_names(tmp_path: Path) -> None:
    frames = moving_squares(4)
    path = written(tmp_path, frames, "coco", frame_files=["b.png", "c.jpeg", "d.JPG", "e.png"])
    document = json.loads(path.read_text())
    assert [image["file_name"] for image in document["images"]] == ["b.png", "c.jpeg", "d.JPG", "e.png"]
    assert [image["time"] for image in document["images"]] == [i / 24 for i in range(4)]
    assert [a["score"] for a in document["annotations"]] == [score for *_, score in visible(frames)]
    assert min(item["id"] for key in ("images", "annotations", "categories") for item in document[key]) == 1
    assert len({a["id"] for a in document["annotations"]}) == len(document["annotations"])


def test_ytvis_scores_are_means_over_visible_frames(tmp_path: Path) -> None:
    document = json.loads(written(tmp_path, moving_squares(4), "ytvis").read_text())
    assert [track["score"] for track in document["annotations"]] == [0.9, 0.89]


def test_sav_tells_visibility_as_sav_does(tmp_path: Path) -> None:
    first, second = np.zeros((4, 40, 50), bool), np.zeros((4, 40, 50), bool)
    first[[0, 1, 3], :33, :32] = True
    second[2, :2, :3] = True
    frames = [frame_masks(i, np.stack([first[i], second[i]])) for i in range(4)]
    document = json.loads(written(tmp_path, frames, "sav", num_frames=6).read_text())
    assert document["masklet_id"] == [1, 2]
    assert document["masklet_first_appeared_frame"] == [0, 2]
    assert document["masklet_visibility_changes"] == [3, 1]
    assert document["masklet_size_abs"] == [33 * 32, 6.0]
    assert document["masklet_size_rel"] == [33 * 32 / 2000, 6 / 2000]
    assert document["masklet_size_bucket"] == ["medium", "small"]
    assert document["masklet_stability_score"][2] == [0.0, 0.89]
    assert document["video_frame_count"] == 6.0
    assert document["video_duration"] == 0.25
    assert document["masklet_frame_count"] == [6, 6]


def test_lists_over_frames_start_at_the_videos_first_frame(tmp_path: Path) -> None:
    frames = moving_squares(6)[4:]
    ytvis = json.loads(written(tmp_path / "y", frames, "ytvis").read_text())
    assert [rle is None for rle in ytvis["annotations"][0]["segmentations"]] == [True] * 4 + [False] * 2
    sav = json.loads(written(tmp_path / "s", frames, "sav").read_text())
    assert [coco_mask.area(rles[0]) > 0 for rles in sav["masklet"]] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("name", export_names())
def test_a_run_without_objects_can_be_written(tmp_path: Path, name: str) -> None:
    frames = [frame_masks(0, np.zeros((0, 5, 7)))]
    path = written(tmp_path, frames, name)
    if name in READERS:
        assert READERS[name](path) == {}


@pytest.mark.parametrize("name", export_names())
def test_nothing_is_left_of_a_file_that_could_not_be_finished(tmp_path: Path, name: str) -> None:
    writer = MaskletsWriter(tmp_path)
    for masks in moving_squares(3):
        writer.write(picture(masks), masks)
    (path,) = writer.finish()
    with open(path, "a") as file:
        file.write("torn")
    with pytest.raises(InputError, match="not JSON"):
        export(path, [name], tmp_path / "out", facts(moving_squares(1)))
    assert not (tmp_path / "out").exists()


# The command.


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    out = tmp_path / "run"
    written(out, moving_squares(5), "mot")
    (out / "masklets.mot.txt").unlink()
    record = {
        "status": "done",
        "source": {
            "kind": "video",
            "path": "/videos/clip.mp4",
            "name": "clip.mp4",
            "size_hw": [48, 64],
            "frame_rate": "24",
            "num_frames": None,
        },
        "prompts": {"objects": [{"id": 1, "label": "dog", "prompts": []}, {"id": 2, "prompts": []}]},
        "outputs": [],
        **dict.fromkeys(
            ["fingerprint", "frames_done", "tracker", "configuration", "weights_sha256", "options"]
        ),
    }
    (out / "run.json").write_text(json.dumps(record))
    return out


def test_convert_writes_the_named_formats(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", str(finished_run), "--format", "coco,cvat,mot"]) == 0
    files = capsys.readouterr().out.split()
    assert files == [str(finished_run / FORMATS[name].output) for name in ("coco", "cvat", "mot")]
    seen = read_coco(finished_run / "masklets.coco.json")
    assert {label for _, label in seen.values()} == {"dog", NO_LABEL}
    assert len(seen) == len(list(visible(moving_squares(5))))


def test_convert_writes_into_another_folder(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished_run.parent / "elsewhere"
    assert cli.main(["convert", str(finished_run), "--format", "ytvis", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": [str(out / "masklets.ytvis.json")]}
    assert sorted(path.name for path in finished_run.iterdir()) == ["masklets.jsonl", "run.json"]


@pytest.mark.parametrize(
    ("name", "theirs"), [("coco", "masklets.coco.json"), ("yolo", "masklets.yolo/labels")]
)
def test_convert_replaces_what_lies_in_another_folder_only_if_told(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, theirs: str
) -> None:
    out = tmp_path / "elsewhere"
    (out / theirs).parent.mkdir(parents=True)
    (out / theirs).write_text("a stranger's")
    command = ["convert", str(finished_run), "--format", name, "--out", str(out)]
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert f"'{out / theirs}' is there already" in error
    assert "--overwrite" in error
    assert (out / theirs).read_text() == "a stranger's"
    assert cli.main([*command, "--overwrite"]) == 0
    assert (out / theirs).is_dir() or (out / theirs).read_text() != "a stranger's"
    assert cli.main(["convert", str(finished_run), "--format", name, "--out", f"{finished_run}/."]) == 0
    assert cli.main(["convert", str(finished_run), "--format", name]) == 0


@pytest.mark.parametrize(
    ("name", "ours"),
    [("yolo", "labels/00000.txt"), ("label-studio", "images.json"), ("mots", "instances.txt")],
)
def test_convert_keeps_what_people_put_beside_its_files(
    finished_run: Path, tmp_path: Path, name: str, ours: str
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/00000.jpg").write_text("a picture")
    folder = finished_run / FORMATS[name].output
    assert cli.main(["convert", str(finished_run), "--format", name]) == 0
    new = (folder / ours).read_bytes()
    shutil.copytree(tmp_path / "pictures", folder / "images")
    (folder / "link").symlink_to(tmp_path / "pictures")
    (folder / "notes.txt").write_text("mine")
    (folder / ours).write_text("stale")
    assert cli.main(["convert", str(finished_run), "--format", name]) == 0
    assert (folder / ours).read_bytes() == new
    assert (folder / "images/00000.jpg").read_text() == (folder / "link/00000.jpg").read_text() == "a picture"
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in finished_run.iterdir() if path.name.startswith(".")] == []


def test_convert_leaves_no_file_of_an_earlier_source_in_its_folder(finished_run: Path) -> None:
    assert cli.main(["convert", str(finished_run), "--format", "label-studio"]) == 0
    record = json.loads((finished_run / "run.json").read_text())
    record["source"]["kind"] = "array"
    (finished_run / "run.json").write_text(json.dumps(record))
    assert cli.main(["convert", str(finished_run), "--format", "label-studio"]) == 0
    files = {path.name for path in (finished_run / "masklets.label-studio").iterdir()}
    assert files == {"images.json", "images.xml"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--format", "cocoa"], "did you mean 'coco'"),
        (["{run}", "--format", ","], "no format"),
        (["{run}/nowhere", "--format", "coco"], "no masklets.jsonl"),
        (["{run}", "--format", "coco", "--out", "{run}/run.json"], "cannot be written"),
        (["{run}"], "--format"),
    ],
)
def test_convert_refuses_wrong_calls(
    finished_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(["convert", *(text.format(run=finished_run) for text in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 3
    assert sorted(path.name for path in finished_run.iterdir()) == ["masklets.jsonl", "run.json"]


@pytest.mark.parametrize("status", ["done", "partial", "interrupted"])
@pytest.mark.parametrize("kept", [[], [0, 1], [0, 1, 3, 4]])
def test_convert_refuses_masklets_that_lack_frames(
    finished_run: Path, capsys: pytest.CaptureFixture[str], kept: list[int], status: str
) -> None:
    record = json.loads((finished_run / "run.json").read_text()) | {"status": status, "frames_done": 5}
    (finished_run / "run.json").write_text(json.dumps(record))
    lines = (finished_run / "masklets.jsonl").read_text().splitlines(keepends=True)
    (finished_run / "masklets.jsonl").write_text("".join(lines[i] for i in kept))
    assert cli.main(["convert", str(finished_run), "--format", "coco"]) == 2
    assert f"hold {len(kept)} of the 5 frames" in capsys.readouterr().err
    (finished_run / "masklets.jsonl").write_text("".join(lines))
    assert cli.main(["convert", str(finished_run), "--format", "coco"]) == 0


@pytest.mark.parametrize("name", export_names())
@pytest.mark.parametrize("rle", [{"size": [48, 64], "counts": "zzzz~~"}, {"size": [48], "counts": "0"}])
def test_convert_refuses_a_mask_that_cannot_be_decoded(
    finished_run: Path, capsys: pytest.CaptureFixture[str], name: str, rle: dict[str, Any]
) -> None:
    lines = (finished_run / "masklets.jsonl").read_text().splitlines()
    line = json.loads(lines[2])
    line["objects"][1]["rle"] = rle
    lines[2] = json.dumps(line)
    (finished_run / "masklets.jsonl").write_text("\n".join(lines) + "\n")
    assert cli.main(["convert", str(finished_run), "--format", name]) == 2
    error = capsys.readouterr().err
    assert "frame 2, object 2" in error
    assert len(error.splitlines()) <= 3
    assert sorted(path.name for path in finished_run.iterdir()) == ["masklets.jsonl", "run.json"]


NO_NAMES = json.dumps({**dict.fromkeys(run_record._OF_A_RECORD), "frame_files": [1, 2]})


@pytest.mark.parametrize("record", ["{}", "[]", "{", '{"source": {}, "status": "done"}', NO_NAMES])
def test_convert_refuses_a_run_that_is_not_one(
    finished_run: Path, capsys: pytest.CaptureFixture[str], record: str
) -> None:
    (finished_run / "run.json").write_text(record)
    assert cli.main(["convert", str(finished_run), "--format", "coco"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) <= 3
    assert "--out folder of a `vidseg track` run" in error or "what its video was" in error


def test_convert_says_that_a_folder_without_record_is_no_run(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (finished_run / "run.json").unlink()
    assert cli.main(["convert", str(finished_run), "--format", "coco"]) == 2
    error = capsys.readouterr().err
    assert "is no run of vidseg: it holds no run.json" in error
    assert "another --out" not in error


def test_convert_offers_only_formats_that_it_makes(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(finished_run), "--format", "foo"]) == 2
    error = capsys.readouterr().err
    offered = error.partition("(known: ")[2].partition(")")[0].split(", ")
    assert offered == export_names()


# TrackEval itself, where it is installed (`pip install --no-deps trackeval`; its OpenCV is not ours).


def test_trackeval_reads_ytvis(tmp_path: Path) -> None:
    trackeval = pytest.importorskip("trackeval", reason="needs the trackeval package")
    frames = moving_squares(6)
    document = json.loads(written(tmp_path, frames, "ytvis").read_text())
    gt, ours = tmp_path / "gt/youtube_vis_train", tmp_path / "trackers/youtube_vis_train/ours/data"
    for folder in (gt, ours):
        folder.mkdir(parents=True)
    (gt / "truth.json").write_text(json.dumps(document))
    for track in document["annotations"]:  # results are a list of tracks, with compressed RLEs
        track["segmentations"] = [rle and compressed(rle) for rle in track["segmentations"]]
    (ours / "results.json").write_text(json.dumps(document["annotations"]))
    dataset = trackeval.datasets.YouTubeVIS(
        {
            "GT_FOLDER": f"{tmp_path}/gt/",
            "TRACKERS_FOLDER": f"{tmp_path}/trackers/",
            "SPLIT_TO_EVAL": "train",
            "PRINT_CONFIG": False,
        }
    )
    raw = dataset.get_raw_seq_data("ours", "clip")
    seen = {
        (frame_idx, int(obj_id)): coco_mask.decode(rle).astype(bool)
        for frame_idx in range(raw["num_timesteps"])
        for obj_id, rle in zip(raw["gt_ids"][frame_idx], raw["gt_dets"][frame_idx], strict=True)
    }
    wanted = {(frame_idx, obj_id): mask for frame_idx, obj_id, mask, _ in visible(frames)}
    assert seen.keys() == wanted.keys()
    assert all((seen[key] == mask).all() for key, mask in wanted.items())
    assert_perfect(trackeval, dataset, raw, classes=["dog", LABELS[2]])


def compressed(rle: dict[str, Any]) -> dict[str, Any]:
    packed = coco_mask.frPyObjects(rle, *rle["size"])
    return {**packed, "counts": packed["counts"].decode()}


def test_trackeval_reads_mot(tmp_path: Path) -> None:
    trackeval = pytest.importorskip("trackeval", reason="needs the trackeval package")
    frames = moving_squares(6)
    text = written(tmp_path, frames, "mot").read_text()
    gt, ours = tmp_path / "gt/clip/gt/gt.txt", tmp_path / "trackers/ours/data/clip.txt"
    truth = re.sub(r",[^,]*,-1,-1,-1$", ",1,1,1", text, flags=re.MULTILINE)  # with a class, all of it counts
    for file, content in ((ours, text), (gt, truth)):
        file.parent.mkdir(parents=True)
        file.write_text(content)
    dataset = trackeval.datasets.MotChallenge2DBox(
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
        (frame_idx, int(obj_id), *map(int, box), float(score))
        for frame_idx in range(raw["num_timesteps"])
        for obj_id, box, score in zip(
            *(raw[key][frame_idx] for key in ("tracker_ids", "tracker_dets", "tracker_confidences")),
            strict=True,
        )
    }
    wanted = set()
    for frame_idx, obj_id, mask, score in visible(frames):
        ys, xs = np.nonzero(mask)
        box = (xs.min() + 1, ys.min() + 1, np.ptp(xs) + 1, np.ptp(ys) + 1)
        wanted.add((frame_idx, obj_id, *map(int, box), score))
    assert seen == wanted
    assert_perfect(trackeval, dataset, raw, classes=["pedestrian"])


def assert_perfect(trackeval: Any, dataset: Any, raw: dict[str, Any], classes: list[str]) -> None:
    """Scored against themselves, tracks are without fault."""
    for name in classes:
        data = dataset.get_preprocessed_seq_data(raw, name)
        assert data["num_tracker_dets"] == data["num_gt_dets"] > 0
        assert trackeval.metrics.HOTA().eval_sequence(data)["HOTA"].mean() == 1.0


# supervision


def a_result() -> FrameResult:
    logits = np.full((2, 2, 2), -1.0, np.float32)
    logits[0, 0] = 1.0
    return FrameResult(
        frame_idx=3,
        pts_seconds=0.125,
        size_hw=(4, 6),
        obj_ids=[7, 9],
        low_res_logits=logits,
        object_score_logits=np.array([4.0, -4.0], np.float32),
        predicted_ious=np.array([0.9, 0.1], np.float32),
        states=["visible", "absent"],
        to_video_res=lambda low, size_hw: np.repeat(np.repeat(low, 2, axis=1), 3, axis=2),
        labels=["dog", None],
    )


def test_to_supervision_gives_its_detections(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("supervision")
    module.Detections = lambda **fields: types.SimpleNamespace(**fields)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)
    detections = a_result().to_supervision()
    assert detections.xyxy.tolist() == [[0, 0, 6, 2]]
    assert detections.tracker_id.tolist() == [7]
    assert detections.class_id.tolist() == [7]
    assert detections.data["class_name"].tolist() == ["dog"]
    np.testing.assert_array_equal(detections.mask, a_result().masks[:1])
    np.testing.assert_allclose(detections.confidence, [0.9 / (1 + np.exp(-4))], rtol=1e-5)


def test_to_supervision_fits_the_real_one() -> None:
    supervision = pytest.importorskip("supervision", reason="needs the supervision package")
    detections = a_result().to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert len(detections) == 1
    scene = np.zeros((4, 6, 3), np.uint8)
    for name in ("Box", "Mask", "Polygon", "Label", "Trace", "Halo"):
        annotator = getattr(supervision, f"{name}Annotator")()
        assert annotator.annotate(scene.copy(), detections).shape == scene.shape


def test_to_supervision_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"supervision(.|\n)*pip install"):
        a_result().to_supervision()
