"""The server of `vidseg annotate` as its page uses it: pictures, acts, two pages, a queue, exports."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette")

import cv2

import vidseg
from support.annotated import NUM_FRAMES, SIZE_HW, write_video
from support.annotation_client import served
from support.hard_videos import NUM_FRAMES as NUM_HARD_FRAMES
from support.hard_videos import HardVideos, number_in
from vidseg.annotation.listening import listen
from vidseg.cli import main
from vidseg.errors import OutputError
from vidseg.testing.fake_tracker import FakeTracker


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "made.mp4"
    write_video(path)
    return path


@pytest.mark.parametrize("name", ["open_gop.ts", "no_times.avi", "variable_rate.mkv", "vp9.webm", "vp8.webm"])
def test_a_picture_is_the_reader_s_frame(tmp_path: Path, hard_videos: HardVideos, name: str) -> None:
    with served(hard_videos[name], tmp_path / "run") as site:
        assert site.bench.session.num_frames == NUM_HARD_FRAMES
        for number in (0, 1, 2, 59, 17, 40, 39):
            status, headers, data = site.get(f"/frame/0/{number}.jpg")
            assert (status, headers["content-type"]) == (200, "image/jpeg")
            assert "immutable" in headers["cache-control"]
            picture = cv2.cvtColor(
                cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
            )
            assert number_in(picture) == number


def test_pictures_are_made_ahead_and_while_nothing_else_is_to_do(tmp_path: Path, video: Path) -> None:
    with served(video, tmp_path / "run") as site:
        pictures = site.bench.pictures
        site.get("/frame/0/40.jpg")
        with site.page() as page:
            page.act("look", frame=30)
            while pictures.num_ready < NUM_FRAMES:  # the test's time limit ends this if they never come
                pass
        num_bytes = pictures._file.num_bytes
        site.get("/frame/0/3.jpg")
        assert pictures._file.num_bytes == num_bytes  # it was there
        assert site.get("/near/0/3.jpg")[1]["location"].startswith("/frame/0/3.jpg?token=")
        assert site.get("/near/0/99.jpg")[1]["location"].startswith(f"/frame/0/{NUM_FRAMES - 1}.jpg")
        assert site.get("/near/1/3.jpg")[0] == 404


def test_a_full_file_of_pictures_is_begun_anew(tmp_path: Path, video: Path) -> None:
    from vidseg.annotation.pictures import Pictures
    from vidseg.pipeline.read.random_access import RandomAccess

    pictures = Pictures(RandomAccess(video), tmp_path, max_bytes=20_000)
    try:
        for number in [*range(NUM_FRAMES), 0, 5]:
            data = pictures.get(number).result(30)
            assert data == pictures.get(number).result(30)
            assert pictures._file.num_bytes <= 20_000
    finally:
        pictures.close()


def test_two_pages_see_the_same(tmp_path: Path, video: Path) -> None:
    with served(video, tmp_path / "run") as site, site.page() as one, site.page() as two:
        obj_id = one.act("click", frame=0, object=None, x=40, y=40, on=True)["object"]
        two.act("set_object", object=obj_id, label="cup", colour="#102030")
        one.act("track", direction="forward")
        for page in (one, two):
            page.until(lambda page=page: page.timelines.get(1, []).count(".") == 0)
            page.until(lambda page=page: page.state["job"] is None)
        for frame in (0, 20, NUM_FRAMES - 1):
            one.act("look", frame=frame)
            two.act("look", frame=frame)
        one.act("undo")
        two.until(lambda: two.state["history"]["redo"] == "Track cup")
        two.act("redo")
        one.until(lambda: one.state["history"]["redo"] is None)
        with site.page() as third:
            third.until(lambda: third.timelines.get(1) == one.timelines[1])
            assert third.state == one.state == two.state
            assert third.state["objects"][0]["label"] == "cup"


def test_masks_of_a_frame_are_one_message(tmp_path: Path, video: Path) -> None:
    with served(video, tmp_path / "run") as site, site.page() as page:
        page.act("box", frame=3, object=None, box=[10, 20, 50, 60])
        page.act("lasso", frame=3, object=None, points=[[100, 10], [150, 10], [150, 50]], mode="replace")
        page.masks.clear()
        page.act("look", frame=2, ahead=2)
        assert set(page.masks) == {2, 3, 4}
        assert page.masks[2] == {}
        for mask in site.bench.session.masks(3):
            item = page.masks[3][mask.obj_id]
            assert sum(item["lengths"]) == SIZE_HW[0] * SIZE_HW[1]
            values = np.repeat(np.arange(len(item["lengths"])) % 2, item["lengths"])
            assert np.array_equal(values.reshape(SIZE_HW[::-1]).T, mask.pixels(SIZE_HW))
            assert (item["area"], tuple(item["box"]), item["kind"]) == (mask.area, mask.box, mask.kind)


def test_previews_come_to_the_page_that_asked(tmp_path: Path, video: Path) -> None:
    with served(video, tmp_path / "run") as site, site.page() as page, site.page() as other:
        numbers = [page.send("hover", frame=0, object=None, x=30 + i, y=30) for i in range(10)]
        answers = {}
        while len(answers) < len(numbers):
            message = page.receive()
            if message["type"] == "done":
                answers[message["n"]] = message.get("skipped", False)
        assert answers[numbers[-1]] is False
        assert page.previews[-1]["n"] == numbers[-1]
        assert {p["n"] for p in page.previews} == {n for n, skipped in answers.items() if not skipped}
        other.act("look", frame=0)
        assert other.previews == []
        assert page.state["history"]["depth"] == 0


def test_corrections_review_and_export_in_one_sitting(tmp_path: Path, video: Path) -> None:
    with served(video, tmp_path / "run") as site, site.page() as page:
        one = page.act("box", frame=0, object=None, box=[20, 20, 60, 60])["object"]
        page.act("track", direction="forward", objects=[one])
        page.until(lambda: page.state["job"] is None and page.timelines[one].count(".") == 0)
        page.act("brush", frame=20, object=one, points=[[30, 30], [70, 60]], radius=6, mode="add")
        page.act("retrack", object=one, frame=20)
        page.until(lambda: page.state["history"]["undo"].startswith("Correct"))
        page.until(lambda: page.state["job"] is None)
        page.act("reviewed", first=0, last=9, on=True)
        page.act("flag", frame=5, note="the hand covers it")
        page.act("absent", object=one, first=2, last=3, on=True)
        assert page.state["reviewed"] == [[0, 9]]
        assert page.state["flags"] == [{"frame": 5, "note": "the hand covers it"}]
        assert "".join(page.timelines[one][:5]) == "PvXXv"
        assert page.timelines[one][20] == "D"
        for frames, count in (("all", NUM_FRAMES), ("reviewed", 10)):
            page.others.clear()
            formats = ["rle", "png", "coco", "mot", "overlay", "prompts"]
            page.act("export", formats=formats, frames=frames)
            page.until(lambda: page.others)
            files = {file["name"]: file["url"] for file in page.others[0]["files"]}
            assert set(files) == {
                "masklets.jsonl", "masks.zip", "masklets.coco.json", "masklets.mot.txt", "overlay.mp4",
                "prompts.json", "prompts.zip",
            }  # fmt: skip
            lines = site.get(files["masklets.jsonl"])[2].decode().splitlines()
            assert len(lines) == count
            archive = zipfile.ZipFile(io.BytesIO(site.get(files["masks.zip"])[2]))
            assert len(archive.namelist()) == count
            said = json.loads(site.get(files["prompts.json"])[2])
            assert said["objects"][0]["prompts"][1] == {
                "mask": "prompts/1-00020.png",
                "frame": 20,
                "in_turn": True,
            }


def test_a_queue_of_videos(tmp_path: Path, video: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("b.mp4", "a.mp4"):
        (folder / name).write_bytes(video.read_bytes())
    with served(folder, tmp_path / "out") as site, site.page() as page, site.page() as other:
        assert [item["name"] for item in page.state["queue"]] == ["a.mp4", "b.mp4"]
        page.act("click", frame=0, object=None, x=40, y=40, on=True)
        page.act("open", video=1)
        other.until(lambda: other.state["video"]["index"] == 1)
        assert page.state["objects"] == []
        assert [item["status"] for item in page.state["queue"]] == ["begun", "open"]
        assert site.get("/frame/0/0.jpg")[0] == 404
        assert site.get("/frame/1/0.jpg")[0] == 200
        assert page.act("open", video=2)["type"] == "error"
        assert page.act("open", video=0) == {"type": "done", "n": page.number}
        assert [thing["id"] for thing in page.state["objects"]] == [1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]


def test_an_error_while_tracking_is_told(tmp_path: Path, video: Path) -> None:
    with served(video, tmp_path / "run", FakeTracker(fails_on=7)) as site, site.page() as page:
        page.act("click", frame=0, object=None, x=40, y=40, on=True)
        page.act("track", direction="forward")
        page.until(lambda: page.others)
        assert page.others[0]["type"] == "error"
        assert "tracking failed" in page.others[0]["message"]
        page.until(lambda: page.state["job"] is None)
        assert page.timelines[1].count(".") == NUM_FRAMES - 7


def test_the_command_opens_a_video_and_ends_on_ctrl_c(tmp_path: Path, video: Path) -> None:
    command = [sys.executable, "-m", "vidseg", "annotate", str(video), "--no-browser", "--tracker", "flow"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        assert address.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    assert (tmp_path / "runs" / "made" / "run.json").is_file()


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_none_has_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "video.mp4", f"--port={port}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"vidseg: --port {port}\n  fix: a port is from 0 to 65535")


@pytest.mark.parametrize("host", ["999.1.1.1", "192.0.2.1", "x" * 70])
def test_a_bad_host_is_told_as_one(host: str) -> None:
    with pytest.raises(OutputError, match="choose another --host"):
        listen(host, 0)


def test_a_taken_port_is_told_as_one() -> None:
    taken = listen("127.0.0.1", 0)
    with taken, pytest.raises(OutputError, match="choose another --port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_ctrl_c_ends_the_server_wherever_it_comes(tmp_path: Path, video: Path) -> None:
    """It comes before the server runs, within a callback, from which Python can raise nothing."""
    script = """
import os, signal, sys, weakref, webbrowser
from vidseg import cli

def on_end(_):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000): pass  # the handler runs here

class Thing: pass

def opened(address):
    thing = Thing()
    kept.append(weakref.ref(thing, on_end))

kept = []
webbrowser.open = opened
sys.exit(cli.main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", script, "annotate", str(video), "--tracker", "flow"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_a_notebook_shows_the_page(tmp_path: Path, video: Path) -> None:
    with vidseg.annotate(video, tracker="flow", out=tmp_path / "run") as annotation:
        assert annotation.address in annotation._repr_html_()
        assert annotation._repr_html_().startswith("<iframe ")
        one = annotation.session.click(0, None, 40, 40)
        assert annotation.session.masks(0)[0].obj_id == one
