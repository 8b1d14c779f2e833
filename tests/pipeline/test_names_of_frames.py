"""Outputs name the frames as they are on the disk: masks, exchange formats, and whoever reads them later."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import vidseg
from support.hard_videos import numbered, picture
from support.trackers import fake_yaml
from vidseg import cli
from vidseg.errors import OutputError
from vidseg.pipeline.formats import FORMATS
from vidseg.testing import FakeSession, FakeTracker
from vidseg.trackers.contract import Frame, FrameResult

BOX = {"box": [20, 20, 40, 40]}
FILES = ["00005.jpg", "00010.png", "a.b.20.jpeg", "frame 15.JPG"]
"""In the order in which they are read."""
STEMS = ["00005", "00010", "a.b.20", "frame 15"]


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "clips" / "dog.v2"
    folder.mkdir(parents=True)
    for k, name in enumerate(FILES):
        Image.fromarray(picture(k)).save(folder / name)
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return numbered(tmp_path / "clip.mp4", 4)


def track(source: Path, out: Path, *formats: str, **more: Any) -> None:
    more = {"prompts": BOX, "tracker": FakeTracker(), **more}
    vidseg.track(source, out=out, formats=formats, **more)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def record_in(out: Path) -> dict[str, Any]:
    return json.loads((out / "run.json").read_text())


def test_masks_of_a_folder_are_named_as_its_frames(frames: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    track(frames, out, "png", "tar")
    assert names_in(out / "masks") == [f"{stem}.png" for stem in STEMS]
    assert record_in(out)["mask_names"] == "frame files"
    assert record_in(out)["frame_files"] == FILES
    with tarfile.open(out / "masks.tar") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    for name in names_in(out / "masks"):
        assert (tmp_path / "unpacked/masks" / name).read_bytes() == (out / "masks" / name).read_bytes()


def test_masks_of_a_video_are_numbered(video: Path, tmp_path: Path) -> None:
    track(video, tmp_path / "out", "png")
    assert names_in(tmp_path / "out/masks") == [f"{k:05d}.png" for k in range(4)]
    assert record_in(tmp_path / "out")["mask_names"] == "frame numbers"
    assert record_in(tmp_path / "out")["frame_files"] is None


def test_masks_of_high_ids_are_named_as_the_frames_too(frames: Path, tmp_path: Path) -> None:
    prompts = {"objects": [{"id": 300, "prompts": [{"frame": 0, **BOX}]}]}
    track(frames, tmp_path / "out", "png", prompts=prompts)
    assert names_in(tmp_path / "out/masks") == [f"300/{stem}.png" for stem in STEMS]


def test_a_long_name_goes_into_the_tar(tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    Image.fromarray(picture(0)).save(folder / f"{'ä' * 110}.png")
    track(folder, tmp_path / "out", "tar")
    with tarfile.open(tmp_path / "out/masks.tar") as tar:
        assert tar.getnames() == [f"masks/{'ä' * 110}.png"]


def test_resumed_run_of_a_folder_ends_with_the_same_files(frames: Path, tmp_path: Path) -> None:
    formats = [name for name in FORMATS.known if name != "rle" and not name.endswith(":polygons")]
    track(frames, tmp_path / "whole", *formats)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        track(frames, out, *formats, tracker=Interrupted(), save_every=1)
    assert len(names_in(out / "masks")) == 2
    (out / "masks/mine.png").write_text("mine")
    track(frames, out, *formats, resume=True)
    (out / "masks/mine.png").unlink()
    assert names_in(out) == names_in(tmp_path / "whole")
    for name in names_in(tmp_path / "whole"):
        if name != "run.json":
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


class Interrupted(FakeTracker):
    """Ctrl-C comes on frame 2."""

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FakeSession:
        session = super().start(num_frames, reverse)
        step = session.step

        def step_until_interrupted(frame: Frame) -> FrameResult:
            if frame.index == 2:
                raise KeyboardInterrupt
            return step(frame)

        session.step = step_until_interrupted  # type: ignore[method-assign]
        return session


# Whose a picture is.


def test_overwrite_removes_the_masks_of_the_earlier_frames_and_no_others(
    frames: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    track(frames, out, "png", "frames")
    (out / "masks/mine.png").write_text("mine")
    (out / "frames/00000.jpg").write_text("mine")
    track(frames, out, "rle", overwrite=True)
    assert names_in(out) == ["frames/00000.jpg", "masklets.jsonl", "masks/mine.png", "run.json"]


@pytest.mark.parametrize("has_record", [False, True])
def test_a_folder_of_pictures_that_no_run_wrote_is_left_alone(
    frames: Path, tmp_path: Path, has_record: bool
) -> None:
    out = tmp_path / "out"
    if has_record:
        track(frames, out, "rle")
    (out / "frames").mkdir(parents=True)
    (out / "frames/00005.jpg").write_text("mine")
    with pytest.raises(OutputError, match=r"holds 'frames/00005.jpg', but"):
        track(frames, out, "frames", overwrite=has_record)
    track(frames, out, "rle", overwrite=has_record)
    assert (out / "frames/00005.jpg").read_text() == "mine"


# Exchange formats.


def document_in(out: Path, name: str) -> dict[str, Any]:
    return json.loads((out / f"masklets.{name}.json").read_text())


def test_coco_and_ytvis_of_a_folder_name_its_files(frames: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    track(frames, out, "rle", "coco", "ytvis")
    coco = [image["file_name"] for image in document_in(out, "coco")["images"]]
    assert coco == FILES
    assert all((frames / name).is_file() for name in coco)
    (ytvis,) = document_in(out, "ytvis")["videos"]
    assert ytvis["file_names"] == [f"dog.v2/{name}" for name in FILES]
    assert all((frames.parent / name).is_file() for name in ytvis["file_names"])


def test_coco_and_ytvis_of_a_video_name_what_the_format_frames_writes(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "out"
    track(video, out, "rle", "coco", "ytvis", "frames")
    assert names_in(out / "frames") == [image["file_name"] for image in document_in(out, "coco")["images"]]
    (ytvis,) = document_in(out, "ytvis")["videos"]
    assert all((out.parent / name).is_file() for name in ytvis["file_names"])
    assert len({name.split("/")[0] for name in ytvis["file_names"]}) == 1
    with av.open(str(video)) as container:
        for k, frame in enumerate(container.decode(video=0)):
            written = np.asarray(Image.open(out / f"frames/{k:05d}.jpg")).astype(int)
            assert np.abs(written - frame.to_ndarray(format="rgb24")).mean() < 3


def test_ytvis_of_a_job_names_its_own_frames(video: Path, tmp_path: Path) -> None:
    job = {"id": "a-7", "video": str(video), "prompt": BOX, "options": {"formats": ["ytvis", "frames"]}}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(job))
    command = ["batch", str(tmp_path / "jobs.jsonl"), "--out", str(tmp_path / "out"), "--workers", "0"]
    assert cli.main([*command, "--quiet", "--tracker", str(fake_yaml(tmp_path))]) == 0
    (ytvis,) = document_in(tmp_path / "out/a-7", "ytvis")["videos"]
    assert ytvis["file_names"] == [f"a-7/frames/{k:05d}.jpg" for k in range(4)]
    assert all((tmp_path / "out" / name).is_file() for name in ytvis["file_names"])


def test_convert_needs_nothing_but_the_run(frames: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    formats = ["rle", "coco", "ytvis", "sav", "cvat", "tar"]
    track(frames, out, *formats)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".jsonl"}
    shutil.rmtree(frames)
    assert cli.main(["convert", str(out), "--format", ",".join(formats[1:])]) == 0
    assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".jsonl"}


# Times.


def test_folders_are_said_to_have_24_frames_a_second(frames: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    track(frames, out, "rle", "overlay", "sav")
    with av.open(str(out / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.guessed_rate, stream.base_rate) == (24, 24, 24)
        assert stream.duration is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(4 / 24)
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([k / 24 for k in range(4)])
    assert document_in(out, "sav")["video_duration"] == pytest.approx(4 / 24)


# Scoring.


def test_score_finds_the_masks_of_a_run_and_of_runs(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    track(frames, runs / "mine", "png")
    shutil.copytree(runs / "mine/masks", tmp_path / "gt/dog.v2")
    shutil.copytree(runs / "mine/masks", tmp_path / "gt/cat")

    def scored(pred: Path) -> dict[str, Any]:
        command = ["score", "davis2017", "--gt", str(tmp_path / "gt"), "--pred", str(pred), "--json", "-"]
        assert cli.main(command) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    document = scored(runs / "mine")
    assert list(document["objects"]) == ["dog.v2"]
    assert document["global"]["J&F-Mean"] == 1.0
    for name in ("cat", "dog.v2"):
        shutil.copytree(runs / "mine", runs / name)
    assert list(scored(runs)["objects"]) == ["cat", "dog.v2"]
    (tmp_path / "evaluation/masks").mkdir(parents=True)
    for name in ("cat", "dog.v2"):
        shutil.copytree(runs / name / "masks", tmp_path / "evaluation/masks" / name)
    assert list(scored(tmp_path / "evaluation")["objects"]) == ["cat", "dog.v2"]


def test_score_says_which_video_is_not_in_the_ground_truth(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track(video, tmp_path / "run", "png")
    for name in ("cat", "dog"):
        shutil.copytree(tmp_path / "run/masks", tmp_path / "gt" / name)
    command = ["score", "davis2017", "--gt", str(tmp_path / "gt"), "--pred", str(tmp_path / "run")]
    assert cli.main(command) == 2
    assert "the run is of 'clip', which is none of the 2 sequences" in capsys.readouterr().err
