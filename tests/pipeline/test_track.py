"""`vidseg.track`: whole runs over small sources, with a tracker that notices every mistake."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import vidseg
from support.hard_videos import numbered, picture
from vidseg.errors import ConfigError, DecodeError, InputError, OutputError, PromptError, SourceError
from vidseg.pipeline.formats import FORMATS, ExportFormat
from vidseg.pipeline.run import TrackSummary
from vidseg.pipeline.writers import Masklets, read_masklets
from vidseg.pipeline.writers.mots import OBJECTS_A_CLASS
from vidseg.testing import FakeTracker

BOX = {"box": [20, 20, 40, 40]}
FRAMES = 24

Masks = dict[int, npt.NDArray[np.bool_]]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered(tmp_path_factory.mktemp("videos") / "clip.mp4", FRAMES, options={"g": "6"})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def track(source: Any, prompts: Any, out: Path, **more: Any) -> TrackSummary:
    more.setdefault("formats", ("png", "rle"))
    more.setdefault("tracker", FakeTracker())
    return vidseg.track(source, prompts, out=out, **more)


def masks_in(out: Path) -> Masks:
    return {line.frame_idx: line.masks for line in read_masklets(out / "masklets.jsonl")}


def record_in(out: Path) -> dict[str, Any]:
    return json.loads((out / "run.json").read_text())


def box_on(frame: int) -> list[int]:
    x = 10 + frame % 20
    return [x, 10, x + 20, 30]


def prompts_on(**objects: list[int]) -> dict[str, Any]:
    return {
        "objects": [
            {"id": int(name[1:]), "prompts": [{"frame": f, "box": box_on(f)} for f in at]}
            for name, at in objects.items()
        ]
    }


class TestOutputs:
    def test_every_output_is_there_and_they_agree(self, video: Path, out: Path) -> None:
        summary = track(video, BOX, out, formats=("png", "rle", "overlay"))
        assert summary.status == "done"
        assert summary.frames_done == FRAMES
        assert {path.name for path in out.iterdir()} == {"masks", "masklets.jsonl", "overlay.mp4", "run.json"}
        assert [path.name for path in sorted((out / "masks").iterdir())] == [
            f"{i:05d}.png" for i in range(FRAMES)
        ]
        for index, masks in masks_in(out).items():
            picture = np.asarray(Image.open(out / f"masks/{index:05d}.png"))
            assert np.array_equal(picture == 1, masks[0])
        with av.open(out / "overlay.mp4") as overlay:
            assert sum(1 for _ in overlay.decode(video=0)) == FRAMES

    def test_record_tells_the_run(self, video: Path, out: Path) -> None:
        track(video, prompts_on(o1=[3]), out, start=3, end=20)
        record = record_in(out)
        assert record["status"] == "done"
        assert record["frames_done"] == 17
        assert record["tracker"] == "fake"
        assert record["source"]["name"] == "clip.mp4"
        assert record["source"]["size_hw"] == [64, 96]
        assert record["options"]["start"] == 3
        assert record["prompts"]["objects"][0]["prompts"][0]["box"] == [13, 10, 33, 30]
        assert set(record["seconds"]) == {"read", "track", "write"}
        assert record["frames_per_second"] > 0
        assert record["peak_memory_bytes"]["host"] > 1 << 20
        assert record["versions"]["vidseg"] == vidseg.__version__
        assert len(record["fingerprint"]) == 64

    def test_state_is_gone_when_a_run_is_done(self, video: Path, out: Path) -> None:
        track(video, BOX, out, save_every=5)
        assert not (out / ".state").exists()

    def test_every_frame_names_every_object(self, video: Path, out: Path) -> None:
        track(video, prompts_on(o2=[5], o1=[0]), out)
        for line in read_masklets(out / "masklets.jsonl"):
            assert list(line.obj_ids) == [2, 1]
            assert bool(line.masks[0].any()) == (line.frame_idx >= 5)

    def test_frames_between_start_and_end_keep_their_numbers(self, video: Path, out: Path) -> None:
        track(video, prompts_on(o1=[7]), out, start=7, end=11)
        assert list(masks_in(out)) == [7, 8, 9, 10]

    @pytest.mark.parametrize("kind", ["list", "generator", "folder"])
    def test_any_source_is_tracked_alike(self, tmp_path: Path, kind: str) -> None:
        pictures = [picture(k) for k in range(FRAMES)]
        folder = tmp_path / "frames"
        folder.mkdir()
        for k, image in enumerate(pictures):
            Image.fromarray(image).save(folder / f"{k:05d}.png")
        track(pictures, prompts_on(o1=[0, 9]), tmp_path / "expected")
        source = {"list": pictures, "generator": iter(pictures), "folder": folder}[kind]
        if kind == "generator":
            # Its later frames cannot be had in advance: the prompt on one of them corrects the object there.
            track(source, BOX, tmp_path / "got")
            track(pictures, BOX, tmp_path / "expected", overwrite=True)
        else:
            track(source, prompts_on(o1=[0, 9]), tmp_path / "got")
        got, expected = masks_in(tmp_path / "got"), masks_in(tmp_path / "expected")
        assert all(np.array_equal(got[k], expected[k]) for k in range(FRAMES))

    def test_default_folder_is_named_after_the_source(
        self, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        summary = vidseg.track(video, BOX, tracker=FakeTracker(), formats=["rle"], end=3)
        assert summary.out == Path("runs/clip")
        assert (tmp_path / "runs/clip/masklets.jsonl").exists()

    def test_prompts_changed_to_fit_are_told(self, video: Path, out: Path) -> None:
        with pytest.warns(UserWarning, match="clipped to the frame"):
            summary = track(video, {"box": [20, 20, 400, 40]}, out, end=2)
        assert "clipped" in summary.warnings[0]
        assert "clipped" in record_in(out)["warnings"][0]


class TestLength:
    def test_what_has_nothing_before_it_is_told_backward(self, video: Path, out: Path) -> None:
        told = "object 1 is prompted on frame 0 alone, and no frame before it is tracked"
        with pytest.warns(UserWarning, match=told):
            summary = track(video, BOX, out, direction="backward")
        assert summary.warnings == record_in(out)["warnings"] == [told]

    def test_short_videos_are_counted(self, video: Path, out: Path) -> None:
        tracker = FakeTracker()
        track(video, BOX, out, tracker=tracker)
        assert tracker.num_frames == [FRAMES]

    def test_long_videos_claims_are_not_believed(self, tmp_path: Path, out: Path) -> None:
        tracker = FakeTracker()
        track(numbered(tmp_path / "long.mp4", 80), BOX, out, tracker=tracker, end=2)
        assert tracker.num_frames == [None]

    def test_prompt_past_the_end_names_the_real_count(self, video: Path, tmp_path: Path, out: Path) -> None:
        for source, count in ((video, FRAMES), (numbered(tmp_path / "long.mp4", 80), 80)):
            with pytest.raises(PromptError, match=rf"frame 812 is past the end of '.*' \({count} frames\)"):
                track(source, prompts_on(o1=[0, 812]), out)
            assert not out.exists()

    def test_prompt_past_the_end_of_a_generator_is_told_at_its_end(self, out: Path) -> None:
        with pytest.raises(PromptError, match=r"frame 50 is past the end of 'arrays' \(9 frames\)"):
            track((picture(k) for k in range(9)), prompts_on(o1=[0, 50]), out)
        assert record_in(out)["status"] == "partial"
        assert len(masks_in(out)) == 9


@pytest.fixture(scope="module")
def runs(video: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same prompts in each direction."""
    folder = tmp_path_factory.mktemp("directions")
    for direction in ("forward", "backward", "both"):
        track(
            video,
            prompts_on(o1=[5, 15], o2=[12]),
            folder / direction,
            direction=direction,
            formats=("png", "rle", "overlay"),
            save_every=4,
        )
    return {path.name: path for path in folder.iterdir()}


class TestDirections:
    def test_all_of_them_cover_every_frame_in_order(self, runs: dict[str, Path]) -> None:
        for out in runs.values():
            assert list(masks_in(out)) == list(range(FRAMES))
            assert len(list((out / "masks").glob("*.png"))) == FRAMES
            with av.open(out / "overlay.mp4") as overlay:
                assert sum(1 for _ in overlay.decode(video=0)) == FRAMES

    def test_backward_carries_objects_down_from_their_last_prompt(self, runs: dict[str, Path]) -> None:
        masks = masks_in(runs["backward"])
        assert [k for k in masks if masks[k][0].any()] == list(range(16))
        assert [k for k in masks if masks[k][1].any()] == list(range(13))

    def test_both_is_backward_below_the_first_prompt_and_forward_above(self, runs: dict[str, Path]) -> None:
        both, forward, backward = (masks_in(runs[d]) for d in ("both", "forward", "backward"))
        for row, first in enumerate((5, 12)):
            for k in range(FRAMES):
                expected = forward if k >= first else backward
                assert np.array_equal(both[k][row], expected[k][row])

    def test_backward_is_forward_over_the_frames_turned_round(self, video: Path, tmp_path: Path) -> None:
        pictures = [frame.image for frame in vidseg.read(video)]
        track(video, prompts_on(o1=[FRAMES - 1]), tmp_path / "backward", direction="backward")
        track(pictures[::-1], {"box": box_on(FRAMES - 1)}, tmp_path / "turned")
        backward, turned = masks_in(tmp_path / "backward"), masks_in(tmp_path / "turned")
        assert all(np.array_equal(backward[k], turned[FRAMES - 1 - k]) for k in range(FRAMES))

    def test_both_needs_no_second_pass_from_the_first_frame(self, video: Path, out: Path) -> None:
        tracker = FakeTracker()
        track(video, BOX, out, tracker=tracker, direction="both")
        assert tracker.calls == [("step", k) for k in range(FRAMES)]

    def test_generator_goes_forward_only(self, out: Path) -> None:
        with pytest.raises(ConfigError, match="direction both needs a source that can be read again"):
            track((picture(k) for k in range(9)), BOX, out, direction="both")


class TestLiveSources:
    @pytest.fixture
    def address(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        sender = subprocess.Popen(
            [sys.executable, "-m", "support.live_sender", "http", str(port)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert sender.stdout is not None
        with sender:
            assert sender.stdout.readline() == "ready\n"
            yield f"http://127.0.0.1:{port}/live.ts"
            sender.kill()

    def test_stream_is_tracked_until_the_end_that_was_asked_for(self, address: str, out: Path) -> None:
        summary = track(address, BOX, out, formats=("png", "rle", "overlay"), end=12, on_behind="wait")
        assert summary.status == "done"
        assert list(masks_in(out)) == list(range(12))
        assert record_in(out)["source"]["is_live"]
        assert not (out / ".state").exists()

    def test_stream_cannot_be_resumed(self, address: str, out: Path) -> None:
        with pytest.raises(ConfigError, match="resume=True needs a source that can be read again"):
            track(address, BOX, out, resume=True)


class TestBrokenSources:
    def test_what_came_before_the_break_is_kept(self, out: Path) -> None:
        pictures: list[Any] = [picture(k) for k in range(9)]
        pictures[6] = "no picture"
        with pytest.raises(DecodeError):
            track(pictures, BOX, out, save_every=2)
        record = record_in(out)
        assert record["status"] == "partial"
        assert record["error"]["frame"] == 6
        assert record["frames_done"] == 6
        assert list(masks_in(out)) == list(range(6))

    def test_source_that_breaks_at_once_leaves_nothing(self, out: Path) -> None:
        def broken() -> Iterator[Any]:
            yield "no picture"

        with pytest.raises(SourceError):
            track(broken(), BOX, out)
        assert not out.exists()

    def test_error_of_the_tracker_leaves_valid_files(self, video: Path, out: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            track(video, BOX, out, tracker=FakeTracker(fails_on=8), save_every=3)
        assert record_in(out)["status"] == "failed"
        assert "told to fail" in record_in(out)["error"]["message"]
        assert list(masks_in(out)) == list(range(8))

    def test_error_of_the_tracker_on_the_first_frame_leaves_nothing(self, video: Path, out: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            track(video, BOX, out / "deep" / "down", tracker=FakeTracker(fails_on=0))
        assert not out.exists()


class TestFolder:
    def test_second_run_into_a_folder_names_both_ways_out(self, video: Path, out: Path) -> None:
        track(video, BOX, out, end=3)
        before = (out / "run.json").read_bytes()
        with pytest.raises(OutputError, match="holds the outputs of another run") as caught:
            track(video, BOX, out, end=3)
        assert "resume=True" in str(caught.value)
        assert "overwrite=True" in str(caught.value)
        assert (out / "run.json").read_bytes() == before

    def test_overwrite_removes_what_vidseg_wrote_and_nothing_else(self, video: Path, out: Path) -> None:
        track(video, BOX, out, formats=("png", "rle", "overlay"))
        (out / "notes.txt").write_text("mine")
        (out / "masks" / "mine.png").write_text("mine")
        (out / "masklets.bak").mkdir()
        track(video, BOX, out, formats=("png",), end=2, overwrite=True)
        assert {path.name for path in out.iterdir()} == {"masks", "run.json", "notes.txt", "masklets.bak"}
        assert {path.name for path in (out / "masks").iterdir()} == {"00000.png", "00001.png", "mine.png"}

    def test_ids_that_a_format_does_not_hold_are_refused_before_tracking(
        self, video: Path, out: Path
    ) -> None:
        prompts = {"objects": [{"id": OBJECTS_A_CLASS, "prompts": [{"frame": 0, **BOX}]}]}
        with pytest.raises(InputError, match="'mots' holds object ids up to 999, and there is 1000"):
            track(video, prompts, out, formats=("rle", "mots"))
        assert not out.exists()
        prompts["objects"][0]["id"] = OBJECTS_A_CLASS - 1
        assert track(video, prompts, out, formats=("rle", "mots"), end=2).status == "done"

    def test_outputs_that_are_whole_are_listed_where_another_one_fails(
        self, video: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(path: Path, masklets: Masklets) -> None:
            raise InputError("no place for that")

        monkeypatch.setitem(FORMATS._rows, "mots", ExportFormat("masklets.mots/", fail))
        with pytest.raises(InputError, match="no place for that"):
            track(video, BOX, out, formats=("png", "mots", "rle", "coco"), end=3)
        assert record_in(out)["status"] == "failed"
        assert set(record_in(out)["outputs"]) == {"masks", "masklets.jsonl", "masklets.coco.json"}

    def test_overwrite_keeps_pictures_beside_the_labels_of_yolo(self, video: Path, out: Path) -> None:
        track(video, BOX, out, formats=("frames", "yolo"), end=3)
        yolo = out / "masklets.yolo"
        shutil.copytree(out / "frames", yolo / "images")
        (yolo / "link").symlink_to("../frames")
        (yolo / "notes.txt").write_text("mine")
        track(video, BOX, out, formats=("yolo",), end=2, overwrite=True)
        assert {path.name for path in yolo.iterdir()} == {
            "data.yaml",
            "labels",
            "images",
            "link",
            "notes.txt",
        }
        assert {path.name for path in (yolo / "labels").iterdir()} == {"00000.txt", "00001.txt"}
        assert len(list((yolo / "images").iterdir())) == 3
        track(video, BOX, out, formats=("rle",), end=2, overwrite=True)
        assert {path.name for path in yolo.iterdir()} == {"images", "link", "notes.txt"}

    def test_outputs_of_unknown_origin_are_not_touched(self, video: Path, out: Path) -> None:
        (out / "masks").mkdir(parents=True)
        (out / "masks" / "00000.png").write_text("mine")
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=r"holds 'masks/00000.png', but no run.json"):
                track(video, BOX, out, overwrite=overwrite)
        assert [path.name for path in out.rglob("*")] == ["masks", "00000.png"]

    def test_run_json_of_another_program_is_not_touched(self, video: Path, out: Path) -> None:
        out.mkdir()
        (out / "run.json").write_text('{"status": "done"}')
        with pytest.raises(OutputError, match="that vidseg did not write"):
            track(video, BOX, out, overwrite=True)
        assert (out / "run.json").read_text() == '{"status": "done"}'

    def test_run_does_not_write_over_what_it_reads(self, video: Path, out: Path) -> None:
        track(video, BOX, out, formats=("png", "overlay"))
        before = sorted(path.read_bytes() for path in out.rglob("*.*"))
        for source, prompts in (
            (out / "overlay.mp4", BOX),
            (out / "masks", BOX),
            (video, {"mask": str(out / "masks" / "00000.png")}),
        ):
            with pytest.raises(OutputError, match="is an input of this run"):
                track(source, prompts, out, overwrite=True)
        assert sorted(path.read_bytes() for path in out.rglob("*.*")) == before

    def test_run_into_the_folder_of_its_frames_leaves_them_alone(self, tmp_path: Path) -> None:
        for k in range(3):
            Image.fromarray(picture(k)).save(tmp_path / f"{k:05d}.png")
        track(tmp_path, BOX, tmp_path)
        track(tmp_path, BOX, tmp_path, overwrite=True)
        assert len(list(tmp_path.glob("0*.png"))) == 3
        assert len(masks_in(tmp_path)) == 3

    def test_file_as_the_folder_is_refused(self, video: Path, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("mine")
        for out in (tmp_path / "out", tmp_path / "out" / "below"):
            with pytest.raises(OutputError):
                track(video, BOX, out)
        assert (tmp_path / "out").read_text() == "mine"

    def test_two_runs_at_once_do_not_mix(self, video: Path, out: Path) -> None:
        class Nosy(FakeTracker):
            refusal: OutputError | None = None

            def start(self, *args: Any, **kwargs: Any) -> Any:
                with pytest.raises(OutputError, match="another run is writing") as caught:
                    track(video, BOX, out, overwrite=True)
                self.refusal = caught.value
                return super().start(*args, **kwargs)

        tracker = Nosy()
        assert track(video, BOX, out, tracker=tracker).status == "done"
        assert tracker.refusal is not None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"formats": ("png", "gif")}, "unknown format 'gif'.*known: .*png"),
        ({"formats": ()}, "at least one"),
        ({"direction": "sideways"}, "unknown direction 'sideways'"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"save_every": -1}, "--save-every is -1"),
        ({"queue_frames": 0}, "--queue is 0"),
        ({"start": 5, "end": 5}, "no frames between"),
        ({"start": -1}, "negative"),
        ({"start": 500}, "past the end"),
        ({"end": 0}, "no frames"),
    ],
)
def test_options_are_checked_before_anything_is_written(
    video: Path, out: Path, options: dict[str, Any], complaint: str
) -> None:
    prompts = prompts_on(o1=[options.get("start", 0) if options.get("start", 0) > 0 else 0])
    with pytest.raises(vidseg.VidsegError, match=complaint) as caught:
        track(video, prompts, out, **options)
    assert caught.value.exit_code == 2
    assert not out.exists()
