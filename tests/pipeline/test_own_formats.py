"""A format from outside: registered by name, it works in every command, and what breaks in it is its own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vidseg
from support.hard_videos import numbered
from support.trackers import fake_yaml
from vidseg import cli
from vidseg.errors import ConfigError, InputError, RunError
from vidseg.pipeline import formats
from vidseg.pipeline.batch.jobs import JobOptions
from vidseg.pipeline.formats import ExportFormat, FrameFormat
from vidseg.pipeline.writers import FrameMasks, Masklets, VideoDescription
from vidseg.testing import FakeTracker
from vidseg.trackers.contract import Frame

BOX = {"box": [20, 20, 40, 40]}


def write_areas(path: Path, masklets: Masklets) -> None:
    """A CSV table of frame, object, area."""
    with open(path, "w", newline="") as file:
        for line in masklets:
            csv.writer(file).writerows([line.frame, item.id, item.area] for item in line.objects)


def write_broken(path: Path, masklets: Masklets) -> None:
    path.write_text("half of it")
    raise KeyError("colour")


class BrightnessWriter:
    """A line for each frame: its number and how bright it is under the masks."""

    name = "brightness"

    def __init__(self, out: Path, video: VideoDescription) -> None:
        self.path = out / "masklets.brightness.txt"
        self.lines: list[str] = []

    def resume(self, is_done: Callable[[int], bool]) -> int:
        return 0

    def write(self, frame: Frame, masks: FrameMasks) -> None:
        assert frame.image is not None
        self.lines.append(f"{frame.index} {frame.image[masks.masks.any(0)].mean():.1f}")

    def sync(self) -> None:
        pass

    def finish(self) -> list[Path]:
        self.path.write_text("\n".join(self.lines))
        return [self.path]

    def discard(self) -> None:
        pass


@pytest.fixture(autouse=True)
def own_formats() -> Iterator[None]:
    vidseg.register_writer("areas", ExportFormat("masklets.areas.csv", write_areas))
    vidseg.register_writer("broken", ExportFormat("masklets.broken.txt", write_broken))
    vidseg.register_writer(
        "brightness", FrameFormat("masklets.brightness.txt", BrightnessWriter, wants_order=True)
    )
    yield
    for name in ("areas", "broken", "brightness"):
        formats.FORMATS.unregister(name)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered(tmp_path_factory.mktemp("videos") / "clip.mp4", 6)


def areas_in(path: Path) -> list[tuple[int, ...]]:
    with open(path, newline="") as file:
        return [tuple(map(int, row)) for row in csv.reader(file)]


def areas_of(out: Path) -> list[tuple[int, ...]]:
    lines = [json.loads(line) for line in (out / "masklets.jsonl").read_text().splitlines()]
    return [(line["frame"], item["id"], item["area"]) for line in lines for item in line["objects"]]


def test_track_and_convert_write_it(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    summary = vidseg.track(video, BOX, tracker=FakeTracker(), out=out, formats=["rle", "areas"])
    assert summary.outputs == [out / "masklets.jsonl", out / "masklets.areas.csv"]
    assert areas_in(out / "masklets.areas.csv") == areas_of(out)
    assert len(areas_of(out)) == 6
    (out / "masklets.areas.csv").unlink()
    assert cli.main(["convert", str(out), "--format", "areas"]) == 0
    assert capsys.readouterr().out.split() == [str(out / "masklets.areas.csv")]
    assert areas_in(out / "masklets.areas.csv") == areas_of(out)


def test_overwrite_knows_it_for_a_runs(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    vidseg.track(video, BOX, tracker=FakeTracker(), out=out, formats=["areas", "brightness"])
    vidseg.track(video, BOX, tracker=FakeTracker(), out=out, formats=["rle"], overwrite=True)
    assert {path.name for path in out.iterdir()} == {"masklets.jsonl", "run.json"}


def test_batch_writes_it(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = tmp_path / "jobs.jsonl"
    job = {"id": "a", "video": str(video), "prompt": BOX, "options": {"formats": ["rle", "areas"]}}
    jobs.write_text(json.dumps(job))
    command = ["batch", str(jobs), "--out", str(tmp_path / "out"), "--workers", "0", "--quiet"]
    assert cli.main([*command, "--tracker", str(fake_yaml(tmp_path))]) == 0, capsys.readouterr().err
    assert areas_in(tmp_path / "out/a/masklets.areas.csv") == areas_of(tmp_path / "out/a")


def test_a_writer_that_wants_order_gets_it_also_of_a_backward_run(video: Path, tmp_path: Path) -> None:
    for direction in ("forward", "backward"):
        vidseg.track(
            video,
            {"objects": [{"id": 1, "prompts": [{"frame": 5, "box": [20, 20, 40, 40]}]}]}
            if direction == "backward"
            else BOX,
            tracker=FakeTracker(),
            out=tmp_path / direction,
            formats=["rle", "brightness"],
            direction=direction,  # type: ignore[arg-type]
        )
        lines = (tmp_path / direction / "masklets.brightness.txt").read_text().splitlines()
        assert [int(line.split()[0]) for line in lines] == list(range(6))


def test_a_plug_ins_format_is_known_to_the_commands(video: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "seconds.py"
    plugin.write_text(
        "import vidseg\n"
        "from vidseg.pipeline.formats import ExportFormat\n"
        "def write(path, masklets):\n"
        "    path.write_text(' '.join(f'{line.time:.2f}' for line in masklets))\n"
        "vidseg.register_writer('seconds', ExportFormat('masklets.seconds.txt', write))\n"
    )

    def vidseg_says(*call: str) -> str:
        command = [sys.executable, "-m", "vidseg", *call, "--plugin", str(plugin)]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    (tmp_path / "box.json").write_text(json.dumps(BOX))
    out = tmp_path / "runs" / "clip" / "masklets.seconds.txt"
    vidseg_says("track", str(video), "--prompt", "box.json", "--tracker", "flow", "--format", "rle,seconds")
    first = out.read_text()
    assert first.startswith("0.00 0.04")
    out.unlink()
    vidseg_says("convert", "runs/clip", "--format", "seconds")
    assert out.read_text() == first
    assert "seconds" in vidseg_says("track", "--help")


@pytest.mark.parametrize("command", ["track", "batch", "convert"])
def test_help_lists_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert "areas" in capsys.readouterr().out


def test_errors_list_it_and_offer_it() -> None:
    with pytest.raises(InputError, match=r"did you mean 'areas'\? \(known: alpha.*areas.*overlay"):
        formats.check_formats(["arrears"])
    with pytest.raises(InputError, match="did you mean 'areas'"):
        JobOptions(formats=["areaz"]).for_track()
    with pytest.raises(InputError, match="'brightness' is written while tracking"):
        formats.exports_by_name(["brightness"])


def test_what_breaks_in_it_is_told_by_its_name_and_leaves_nothing(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RunError, match=r"format 'broken' failed \(KeyError: 'colour'\)"):
        vidseg.track(video, BOX, tracker=FakeTracker(), out=out, formats=["rle", "broken", "areas"])
    assert {path.name for path in out.iterdir()} >= {"masklets.jsonl", "masklets.areas.csv", "run.json"}
    assert not [path.name for path in out.iterdir() if "broken" in path.name]


@pytest.mark.parametrize(
    ("name", "output", "message"),
    [
        ("coco", "masklets.other.json", "'coco' is there already"),
        ("areas", "masklets.more.csv", "'areas' is there already"),
        ("a,b", "masklets.ab.csv", "comma"),
        ("", "masklets.x", "none at all"),
        ("mine", "mine.csv", r"fix: call it masklets\.mine"),
        ("mine", "masklets.../../x", r"fix: call it masklets\.mine"),
        ("mine", "masklets.coco.json", "as another one does"),
    ],
)
def test_what_cannot_be_a_format_is_refused(name: str, output: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vidseg.register_writer(name, ExportFormat(output, write_areas))


def test_a_function_alone_is_no_format() -> None:
    with pytest.raises(ConfigError, match="give a FrameFormat or an ExportFormat"):
        vidseg.register_writer("mine", write_areas)  # type: ignore[arg-type]
