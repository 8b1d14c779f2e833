"""`vidseg eval davis2017-unsupervised`: no mask is given, and the best objects that were found are scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.two_disks import picture
from vidseg.cli import main
from vidseg.eval.datasets.contract import SequenceToTrack
from vidseg.eval.proposals import write_proposals
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.masklets import encode_line

FRAMES = 9


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """A disk on nine frames, and a sequence whose list has it."""
    root = tmp_path / "davis"
    images, masks, lists = (
        root / part for part in ("JPEGImages/480p/disk", "Annotations/480p/disk", "ImageSets/2017")
    )
    for folder in (images, masks, lists):
        folder.mkdir(parents=True)
    (lists / "val.txt").write_text("disk\n")
    for index in range(FRAMES):
        image, (red, _) = picture(index)
        Image.fromarray(image).save(images / f"{index:05d}.jpg", quality=95)
        label = Image.fromarray(red.astype(np.uint8), mode="P")
        label.putpalette([0, 0, 0, 200, 0, 0])
        label.save(masks / f"{index:05d}.png")
    return root


def test_objects_are_found_and_scored(davis: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = [
        "eval",
        "davis2017-unsupervised",
        "--root",
        str(davis),
        "--out",
        str(out),
        "--every",
        "4",
        "--quiet",
    ]
    assert main(call) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["card"]["discover"] == {"max_objects": 20, "report_tentative": True, "every": 4}
    assert results["score"] > 75
    labels = [np.asarray(Image.open(out / f"masks/disk/{index:05d}.png")) for index in range(FRAMES)]
    assert all(label.max() > 0 for label in labels), "also on frames on which what is found is tentative"
    assert main([*call[:-2], "5", "--quiet", "--resume"]) == 2, (
        "looks at other frames make another evaluation"
    )


def test_no_more_proposals_than_the_benchmark_takes_and_the_best_ones(tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "masks"
    run.mkdir()
    folder.mkdir()
    source = {
        "size_hw": [4, 6],
        "path": None,
        "frame_rate": None,
        "kind": "array",
        "name": "x",
        "num_frames": 2,
    }
    record = {
        **dict.fromkeys(
            ("tracker", "configuration", "weights_sha256", "options", "fingerprint", "outputs"), ""
        ),
        **{"status": "done", "frames_done": 2, "source": source, "prompts": {"objects": []}},
    }
    (run / "run.json").write_text(json.dumps(record))
    lines = b""
    for index in range(2):
        masks = np.zeros((3, 4, 6), bool)
        masks[0, 0], masks[1, 1], masks[2, 2] = True, index == 0, True
        lines += encode_line(FrameMasks(index, 0.0, (4, 6), [7, 300, 9], masks, [0.5, 0.9, 0.8]))
    (run / "masklets.jsonl").write_bytes(lines)
    names = ["a", "b"]
    write_proposals(SequenceToTrack("x", tmp_path, names, [], ["b"]), run, folder, 2)
    assert [path.name for path in folder.iterdir()] == ["b.png"]
    label = np.asarray(Image.open(folder / "b.png"))
    assert label[:, 0].tolist() == [2, 0, 1, 0], (
        "9 has the highest sum, then 7; 300 is seen on one frame alone"
    )


def test_options_of_finding_need_a_set_without_given_objects(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["eval", "davis2017", "--root", str(davis), "--out", str(tmp_path / "out"), "--every", "4"]) == 2
    )
    assert "--every is about objects that are found; davis2017 gives them" in capsys.readouterr().err
