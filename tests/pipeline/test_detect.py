"""`vidseg track --detector`: what a detector draws a box around is prompted by it, followed and labelled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vidseg
from support.two_disks import FRAMES, best, lines, picture, write_clip
from vidseg.cli import main
from vidseg.detectors import Detection, register_detector
from vidseg.detectors.contract import best_first, inside
from vidseg.detectors.table import DETECTORS
from vidseg.errors import ConfigError
from vidseg.trackers.discovery.discovery import Discovery

QUIET = ("--quiet", "--format", "rle")


class ColourDetector:
    """Looks at pixels: draws what is as red or as blue as a text says."""

    name = "colour"

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts

    def detect(self, frame: vidseg.Frame) -> list[Detection] | None:
        assert frame.image is not None
        found = []
        for text in self.texts:
            channel = {"red disk": 0, "blue disk": 2}[text]
            rows, columns = np.nonzero(frame.image[..., channel] > 180)
            if len(rows) > 100:
                box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                found.append(inside(box, text, 0.9, frame.size_hw))
        return best_first(found)


@pytest.fixture
def colours() -> Iterator[None]:
    register_detector("colour", lambda argument, texts, threshold: ColourDetector(texts))
    yield
    DETECTORS.unregister("colour")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("detect") / "clip")


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """The red disk on frame 0, and both on frame 16; a file of boxes."""
    detections = []
    for index, names in ((0, ["red"]), (16, ["red", "blue"])):
        for name, mask in zip(("red", "blue"), picture(index)[1], strict=True):
            if name in names:
                rows, columns = np.nonzero(mask)
                box = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
                detections.append({"frame": index, "box": box, "label": f"{name} disk", "score": 0.8})
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"detections": detections}))
    return path


def check_both(out: Path) -> None:
    """Both disks are followed to the end, under the labels of their colours and one id each."""
    labels = json.loads((out / "run.json").read_text())["labels"]
    last = lines(out)[-1]["objects"]
    ids = []
    for name, mask in zip(("red disk", "blue disk"), picture(FRAMES - 1)[1], strict=True):
        iou, obj_id = best(last, mask)
        assert iou > 0.7
        assert labels[str(obj_id)] == name
        ids.append(obj_id)
    assert len(labels) == 2, "boxes of objects that are followed make no new ones"
    assert ids == [1, 2]


def test_a_file_of_boxes_is_followed_from_its_frames_on(clip: Path, boxes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = ["track", str(clip), "--detector", str(boxes), "--tracker", "flow", "--out", str(out), "--quiet"]
    assert main([*call, "--format", "rle,coco,overlay"]) == 0
    check_both(out)
    written = lines(out)
    assert [len(line["objects"]) for line in written] == [1] * 16 + [2] * (FRAMES - 16)
    assert best(written[0]["objects"], picture(0)[1][0])[0] > 0.7, "from the frame of its box on"
    coco = json.loads((out / "masklets.coco.json").read_text())
    assert {category["name"] for category in coco["categories"]} == {"red disk", "blue disk"}
    assert vidseg.read_run(out).labels == {1: "red disk", 2: "blue disk"}
    assert main(["convert", str(out), "--format", "ytvis"]) == 0
    converted = json.loads((out / "masklets.ytvis.json").read_text())
    assert {category["name"] for category in converted["categories"]} == {"red disk", "blue disk"}


@pytest.mark.parametrize(
    "detections",
    [
        [],
        [{"frame": 999, "box": [1, 2, 30, 40], "label": "cup"}],
        [{"frame": 0, "box": [9001, 2, 9030, 40], "label": "cup"}],
    ],
    ids=["no box", "beyond the video", "outside the frame"],
)
def test_a_file_none_of_whose_boxes_is_used_is_told(
    detections: list[dict[str, Any]], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "det.json").write_text(json.dumps({"detections": detections}))
    call = ["track", str(clip), "--detector", str(tmp_path / "det.json"), "--out", str(tmp_path / "out")]
    assert main([*call, "--tracker", "flow", "--format", "rle"]) == 0
    told = "no box of 'det.json' lies in a frame that was looked at"
    assert f"vidseg: warning: {told}\n" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/run.json").read_text())["warnings"] == [told]


@pytest.mark.usefixtures("colours")
def test_a_text_is_looked_for_by_any_tracker(clip: Path, tmp_path: Path) -> None:
    call = ["track", str(clip), "--text", "red disk, blue disk", "--detector", "colour", "--every", "6"]
    for tracker in ("flow", "vidseg-nano"):
        out = tmp_path / tracker
        assert main([*call, "--tracker", tracker, "--out", str(out), *QUIET]) == 0
        check_both(out)
    assert [len(line["objects"]) for line in lines(out)][:6] == [0] * 5 + [1], "tentative until seen again"


@pytest.mark.usefixtures("colours")
def test_what_a_sure_detector_finds_is_followed_at_once(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ColourDetector, "is_sure", True, raising=False)
    call = ["track", str(clip), "--text", "red disk", "--detector", "colour", "--every", "6"]
    assert main([*call, "--tracker", "flow", "--out", str(tmp_path), *QUIET]) == 0
    assert len(lines(tmp_path)[0]["objects"]) == 1


@pytest.mark.usefixtures("colours")
def test_what_is_prompted_comes_first(clip: Path, tmp_path: Path) -> None:
    summary = vidseg.track(
        clip,
        {"objects": [{"id": 7, "label": "mine", "prompts": [{"frame": 0, "box": [14, 10, 46, 42]}]}]},
        tracker="flow",
        out=tmp_path,
        formats=["rle"],
        discover={"detector": "colour", "text": "red disk, blue disk", "every": 6},
    )
    assert summary.obj_ids == [7, 8]
    assert vidseg.read_run(tmp_path).labels == {7: "mine", 8: "blue disk"}


def test_a_cut_off_run_goes_on_to_the_same_files(
    clip: Path, boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["track", str(clip), "--tracker", "flow", "--detector", str(boxes), "--save-every", "5", *QUIET]
    call[-1] = "rle,coco"
    assert main([*call, "--out", str(tmp_path / "whole")]) == 0
    step = Discovery.step

    def step_until_killed(self: Any, session: Any, frame: Any) -> Any:
        if frame.index == 18:
            raise KeyboardInterrupt
        return step(self, session, frame)

    monkeypatch.setattr(Discovery, "step", step_until_killed)
    assert main([*call, "--out", str(tmp_path / "cut")]) == 130
    monkeypatch.setattr(Discovery, "step", step)
    content = boxes.read_text()
    boxes.write_text(content.replace("0.8", "0.7"))
    assert main([*call, "--out", str(tmp_path / "cut"), "--resume"]) == 2, "other boxes, another run"
    boxes.write_text(content)
    assert main([*call, "--out", str(tmp_path / "cut"), "--resume"]) == 0
    for name in ("masklets.jsonl", "masklets.coco.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    check_both(tmp_path / "cut")


def test_a_job_names_boxes_beside_its_file(clip: Path, boxes: Path, tmp_path: Path) -> None:
    options = {"discover": {"detector": boxes.name}, "formats": ["rle"]}
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text(json.dumps({"id": "a", "video": str(clip), "tracker": "flow", "options": options}))
    call = ["batch", str(jobs), "--out", str(tmp_path / "out"), "--workers", "0"]
    report = tmp_path / "out" / "report.jsonl"
    assert main(call) == 0
    check_both(tmp_path / "out" / "a")
    assert main(call) == 0
    assert json.loads(report.read_text().splitlines()[-1])["was_done_before"] is True
    boxes.write_text(boxes.read_text().replace("blue", "sky"))
    assert main(call) == 0
    assert vidseg.read_run(tmp_path / "out" / "a").labels == {1: "red disk", 2: "sky disk"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "cup"], "--text is for a detector, and none is given"),
        (["--discover", "--threshold", "0.5"], "--threshold is for a detector"),
        (["--detector", "no/boxes.json"], "no/boxes.json' cannot be read (No such file or directory)"),
        (["--detector", "owl"], "did you mean 'owlv2'"),
        (["--detector", "owlv2:nowhere"], "looks for a text"),
        (["--detector", "boxes.json", "--sampler", "grid"], "--sampler is about objects that a model finds"),
        (["--detector", "boxes.json", "--set", "points_per_side=8"], "--set is about objects"),
        (["--detector", "boxes.json", "--direction", "backward"], "goes forward alone"),
        (["--detector", "boxes.json", "--threshold", "2"], "threshold"),
    ],
)
def test_wrong_calls_are_told(
    arguments: list[str], message: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["track", str(clip), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_python_tells_of_options_that_contradict(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a model finds, and --detector finds them"):
        vidseg.track(clip, out=tmp_path, discover={"detector": "boxes.json", "discover_with": "vidseg-nano"})
