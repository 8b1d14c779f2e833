"""The demo: a first try that needs nothing but the package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidseg import cli
from vidseg.pipeline.formats import export_names


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "demo"
    assert cli.main(["demo", "--out", str(out), "--frames", "8", "--size", "160x96"]) == 0
    return out


def test_demo_leaves_the_video_its_truth_and_the_results(demo_run: Path) -> None:
    names = {path.name for path in demo_run.iterdir()}
    assert names >= {
        "video.mp4",
        "truth",
        "prompt.json",
        "masks",
        "masklets.jsonl",
        "overlay.mp4",
        "run.json",
    }
    assert len(list((demo_run / "truth").iterdir())) == len(list((demo_run / "masks").iterdir())) == 8
    with Image.open(demo_run / "picture.png") as picture:
        assert picture.size == (3 * 160, 2 * 96)
        assert np.asarray(picture).std() > 10


def test_demo_reports_the_score_and_where_the_picture_is(
    demo_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["demo", "--out", str(demo_run), "--frames", "6", "--size", "160x96"]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert "J&F" in text
    assert str(demo_run / "picture.png") in text
    assert cli.main([*arguments, "--json", "--animation", str(demo_run / "a" / "moving.webp")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["objects"]) == {"star", "ball", "fish"}
    per_object = [score for scores in result["objects"].values() for score in scores.values()]
    assert result["J&F"] == pytest.approx(np.mean(per_object), abs=0.02)
    assert all(0 <= score <= 100 for score in per_object)
    with Image.open(result["animation"]) as animation:
        assert animation.n_frames == 3


def test_demo_scores_its_own_truth_as_perfect(demo_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidseg.eval import demo
    from vidseg.pipeline.made_video import MadeVideo
    from vidseg.pipeline.writers import FrameMasks

    video = MadeVideo(num_frames=6, size_hw=(96, 160))

    def truth_for_masks(out: Path):  # type: ignore[no-untyped-def]
        for frame, truth in video:
            masks = np.stack([truth == obj_id for obj_id in video.labels])
            yield FrameMasks(frame.index, 0.0, (96, 160), [1, 2, 3], masks, [1.0] * 3), truth

    monkeypatch.setattr(demo, "_masks_and_truth", truth_for_masks)
    np.testing.assert_array_equal(demo._score(video, demo_run), np.ones((3, 2)))


def test_demo_run_converts_to_every_format(demo_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    formats = [name for name in export_names() if not name.endswith(":polygons")]
    assert cli.main(["convert", str(demo_run), "--format", ",".join(formats)]) == 0
    assert len(capsys.readouterr().out.split()) == len(formats)
    coco = json.loads((demo_run / "masklets.coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == ["star", "ball", "fish"]
    assert "demo/frames/00000.jpg" in (demo_run / "masklets.ytvis.json").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--frames", "1"],
        ["--frames", "many"],
        ["--size", "640"],
        ["--size", "10x10"],
        ["--size", "99999x99999"],
        ["--tracker", "flo"],
        ["--animation", "a.gif"],
    ],
)
def test_demo_refuses_wrong_calls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) <= 3
    assert not (tmp_path / "demo").exists()


def test_demo_names_both_bounds_of_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--size", "1000000x1000000"]) == 2
    assert "64 to 9999 pixels" in capsys.readouterr().err


def test_demo_leaves_other_peoples_folders_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 2
    assert "something else than a demo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_demo_writes_nothing_over_videos_of_others_that_have_their_truth_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "video.mp4").write_text("mine")
    (tmp_path / "prompt.json").write_text('{"box": [1, 2, 3, 4]}')
    assert cli.main(["demo", "--out", str(tmp_path)]) == 2
    assert "something else than a demo" in capsys.readouterr().err
    assert (tmp_path / "video.mp4").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["prompt.json", "truth", "video.mp4"]


def test_demo_replaces_one_that_was_cut_off_but_no_project_that_one_became(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["demo", "--out", str(tmp_path / "demo"), "--frames", "3", "--size", "96x64", "--tracker", "flow"]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vidseg.pipeline.writers.png.write_label_png", interrupted)
        assert cli.main(call) == 130
    assert cli.main(call) == cli.main(call) == 0
    (tmp_path / "demo/.annotate").mkdir()
    (tmp_path / "demo/.annotate/project.sqlite").touch()
    before = (tmp_path / "demo/video.mp4").stat().st_mtime_ns
    assert cli.main(call) == 2
    assert "a project of `vidseg annotate`" in capsys.readouterr().err
    assert (tmp_path / "demo/video.mp4").stat().st_mtime_ns == before
