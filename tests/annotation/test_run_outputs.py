"""The pictures and files of a run of `track` whose masks a person corrects: none may show the old masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vidseg
from support.annotated import lines_of, write_video
from vidseg.annotation.session import AnnotationSession
from vidseg.errors import InputError, OutputError
from vidseg.pipeline.run import TrackSummary
from vidseg.testing.fake_tracker import FakeTracker

FORMATS = ["png", "rle", "overlay", "frames", "yolo"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    video = tmp_path / "made.mp4"
    star = write_video(video, 6)[0]
    vidseg.track(video, {"box": star}, tracker=FakeTracker(), out=tmp_path / "run", formats=FORMATS)
    (tmp_path / "run/masks/mine.txt").write_text("mine")
    (tmp_path / "run/masklets.yolo/images").symlink_to("../frames")
    return tmp_path / "run"


def track(run: Path, **ways: Any) -> TrackSummary:
    prompt = {"box": [10, 10, 40, 40]}
    return vidseg.track(run.parent / "made.mp4", prompt, tracker=FakeTracker(), out=run, **ways)


def record_in(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def test_a_run_that_is_only_looked_at_keeps_its_outputs(run: Path) -> None:
    vidseg.convert(run, "coco")
    before = record_in(run)
    with AnnotationSession(run, tracker=FakeTracker()) as session:
        session.flag(2, "look")
    assert (run / "masklets.coco.json").is_file()
    assert len(list((run / "masks").glob("*.png"))) == 6
    after = record_in(run)
    assert set(after["outputs"]) == set(before["outputs"])
    assert set(after["options"]["format"].split(",")) == set(FORMATS)


def test_a_correction_removes_what_shows_the_old_masks(run: Path) -> None:
    vidseg.convert(run, "coco")
    told: list[Any] = []
    before = lines_of(run)
    with AnnotationSession(run, tracker=FakeTracker()) as session:
        session.listeners.add(told.append)
        session.lasso(3, 1, [(5, 5), (60, 5), (60, 60), (5, 60)])
    assert lines_of(run) != before
    left = {str(path.relative_to(run)) for path in run.rglob("*") if ".annotate" not in path.parts}
    left = {name for name in left if not name.startswith(("frames/", "prompts"))}
    assert left == {
        "frames",
        "masklets.jsonl",
        "masklets.yolo",
        "masklets.yolo/images",
        "masks",
        "masks/mine.txt",
        "run.json",
    }
    assert len(list((run / "frames").iterdir())) == 6
    assert set(record_in(run)["outputs"]) == {"masklets.jsonl", "frames"}
    assert record_in(run)["options"]["format"] == "rle,frames"
    (message,) = [event["message"] for event in told if isinstance(event, dict) and event["type"] == "error"]
    assert message.startswith("masklets.coco.json, masklets.yolo, masks, overlay.mp4 ")


def test_what_was_converted_since_the_last_correction_goes_with_the_next_one(run: Path) -> None:
    for frame_idx in (3, 4):
        with AnnotationSession(run, tracker=FakeTracker()) as session:
            session.lasso(frame_idx, 1, [(5, 5), (60, 5), (60, 60), (5, 60)])
        assert not (run / "masklets.coco.json").exists()
        vidseg.convert(run, "coco")


@pytest.mark.parametrize(
    ("change", "gone", "formats"),
    [
        ({"label": "star"}, {"masklets.coco.json", "masklets.yolo", "overlay.mp4"}, "rle,png,frames"),
        ({"colour": "#123456"}, {"overlay.mp4"}, "rle,png,frames,yolo"),
        ({"visible": False}, set(), "rle,png,overlay,frames,yolo"),
    ],
)
def test_a_label_and_a_colour_remove_what_shows_them(
    run: Path, change: dict[str, Any], gone: set[str], formats: str
) -> None:
    (run / "masklets.yolo/images").unlink()
    vidseg.convert(run, ["coco", "mot"])
    before = {path.name for path in run.iterdir()}
    for _ in range(2):  # the second time nothing changes
        with AnnotationSession(run, tracker=FakeTracker()) as session:
            session.set_object(1, **change)
        assert before - {path.name for path in run.iterdir()} == gone
    assert len(list((run / "masks").glob("*.png"))) == 6
    record = record_in(run)
    assert not gone & set(record["outputs"])
    assert record["options"]["format"] == formats


def test_labels_that_a_run_found_are_kept(run: Path) -> None:
    record = record_in(run)
    record["labels"] = {"1": "cat"}
    record["prompts"]["objects"] = []
    (run / "run.json").write_text(json.dumps(record))
    with AnnotationSession(run, tracker=FakeTracker()) as session:
        assert session.project.object(1).label == "cat"
    assert (run / "overlay.mp4").is_file()


@pytest.mark.parametrize("ways", [{}, {"overwrite": True}, {"resume": True}])
def test_track_refuses_the_folder_of_a_project(run: Path, ways: dict[str, Any]) -> None:
    with AnnotationSession(run, tracker=FakeTracker()) as session:
        session.lasso(3, 1, [(5, 5), (60, 5), (60, 60), (5, 60)])
        session.write_files()
        before = (run / "masklets.jsonl").read_bytes()
        with pytest.raises(OutputError, match="is a project of `vidseg annotate`") as caught:
            track(run, **ways)
        assert "choose another" in str(caught.value)
    with pytest.raises(OutputError, match="is a project of `vidseg annotate`"):
        track(run, **ways)
    assert (run / "masklets.jsonl").read_bytes() == before


def test_a_run_that_cannot_be_annotated_may_be_tracked_again(run: Path) -> None:
    (run / "masklets.jsonl").unlink()
    with pytest.raises(InputError, match=r"no masklets.jsonl"):
        AnnotationSession(run, tracker=FakeTracker())
    assert track(run, overwrite=True).status == "done"


def test_where_the_object_in_front_was_corrected_away_another_one_shows(tmp_path: Path) -> None:
    star = write_video(tmp_path / "made.mp4", 2)[0]
    objects = [{"id": obj_id, "prompts": [{"frame": 0, "box": star}]} for obj_id in (1, 2, 3)]
    how = {"tracker": FakeTracker(), "out": tmp_path / "run", "formats": ["rle"]}
    vidseg.track(tmp_path / "made.mp4", {"objects": objects}, **how)
    with AnnotationSession(tmp_path / "run", tracker=FakeTracker()) as session:
        session.lasso(0, 1, [(1, 1), (6, 1), (6, 6)])
    frame = next(iter(vidseg.read_run(tmp_path / "run")))
    assert not (frame.masks[0] & frame.masks[1]).any()
    assert ((frame.label_map() > 0) == frame.masks.any(0)).all()
