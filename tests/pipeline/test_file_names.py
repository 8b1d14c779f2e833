"""File names that are not UTF-8, or in other scripts: tracked, and escaped in JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

import vidseg
from support.hard_videos import numbered, picture
from vidseg.cli import main
from vidseg.errors import PromptError, SourceError
from vidseg.pipeline.formats import FORMATS
from vidseg.pipeline.prompts import read_prompts
from vidseg.testing import FakeTracker

pytestmark = pytest.mark.skipif(
    sys.platform in ("darwin", "win32"), reason="file names are Unicode on this system"
)

BOX = {"box": [10, 10, 60, 50]}
NUM_FRAMES = 3
ODD = os.fsdecode(b"caf\xe9 \xff")


def video(folder: Path, name: str = f"{ODD}.mp4") -> Path:
    plain = numbered(folder / "plain.mp4", num_frames=NUM_FRAMES)
    return plain.rename(folder / name)


def frames(folder: Path) -> Path:
    folder.mkdir()
    for number in range(NUM_FRAMES):
        Image.fromarray(picture(number)).save(folder / f"{ODD}-{number}.png")
    return folder


@pytest.mark.parametrize("kind", ["video", "frames"])
def test_every_format_is_written_of_a_source_whose_name_is_not_utf8(tmp_path: Path, kind: str) -> None:
    source = video(tmp_path) if kind == "video" else frames(tmp_path / ODD)
    out = tmp_path / f"out {ODD}"
    formats = [name for name in FORMATS.known if ":" not in name]  # a variant writes the same file
    summary = vidseg.track(source, BOX, tracker=FakeTracker(), out=out, formats=formats)
    assert (summary.status, summary.frames_done) == ("done", NUM_FRAMES)
    assert all(path.exists() for path in summary.outputs)
    text = (out / "run.json").read_bytes().decode()  # it is UTF-8
    assert "caf\\udce9 \\udcff" in text
    assert json.loads(text)["source"]["path"] == str(source)
    for path in out.rglob("*.json"):
        json.loads(path.read_bytes().decode())


def test_a_video_whose_name_is_not_utf8_is_read_from_anywhere(tmp_path: Path) -> None:
    path = video(tmp_path)
    assert [frame.index for frame in vidseg.read(path, start=1, reverse=True)] == [2, 1]
    assert len(list(vidseg.read(str(path)))) == NUM_FRAMES
    pytest.importorskip("decord", reason="needs the extra 'decord'")
    with pytest.raises(SourceError, match="its name is not UTF-8"):
        vidseg.read(path, reader="decord")


def test_prompts_may_name_a_mask_whose_name_is_not_utf8(tmp_path: Path) -> None:
    mask = Image.new("L", (96, 64))
    mask.paste(255, (10, 10, 60, 50))
    mask.save(tmp_path / f"{ODD}.png")
    prompt = tmp_path / f"{ODD}.json"
    prompt.write_text('{"mask": "caf\\udce9 \\udcff.png"}')
    (thing,) = read_prompts(prompt).objects
    assert thing.on_frames[0].mask is not None
    prompt.write_text('{"mask": "\\ud800.png"}')  # no byte is read so
    with pytest.raises(PromptError, match="no file can have this name"):
        read_prompts(prompt)


def test_a_folder_of_jobs_with_such_names_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in (ODD, "視頻", "影片"):
        video(folder, f"{name}.mp4")
        (folder / f"{name}.json").write_text(json.dumps(BOX))
    jobs, out = tmp_path / "jobs.jsonl", tmp_path / "out"
    assert main(["batch", "make", str(folder), "--out", str(jobs)]) == 0
    lines = [json.loads(line) for line in jobs.read_bytes().decode().splitlines()]
    assert sorted(line["id"] for line in lines) == ["caf", "video", "video-2"]
    assert main(["batch", str(jobs), "--out", str(out), "--workers", "0", "--tracker", "flow"]) == 0
    assert "3 of 3 jobs done" in capsys.readouterr().out
    marks = [json.loads((out / line["id"] / "run.json").read_bytes().decode()) for line in lines]
    assert [mark["job"]["video"] for mark in marks] == [line["video"] for line in lines]


def test_a_failed_job_with_such_a_name_is_reported(tmp_path: Path) -> None:
    broken = tmp_path / f"{ODD}.mp4"
    broken.write_bytes(b"no video")
    job = {"id": "a", "video": str(broken), "prompt": BOX}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(job))
    out = tmp_path / "out"
    assert main(["batch", str(tmp_path / "jobs.jsonl"), "--out", str(out), "--workers", "0"]) == 3
    (line,) = (out / "report.jsonl").read_bytes().decode().splitlines()
    assert "caf\\udce9" in json.loads(line)["reason"]
    assert "caf\\udce9" in (out / "report.html").read_bytes().decode()
