"""`vidseg track` and `vidseg schema` as a person calls them."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from PIL import Image

from support.hard_videos import encode, numbered, picture
from support.trackers import fake_yaml
from vidseg import processors
from vidseg.cli import main
from vidseg.pipeline.writers import FrameMasks
from vidseg.pipeline.writers.json_lines import JsonLinesWriter
from vidseg.trackers.contract import Frame

GOOD = '{"box": [10, 10, 30, 30]}'
QUICK = ("--tracker", "flow")
"""A tracker for what is the same with each of them; the default one takes longer."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a video of 5 frames and a prompt."""
    numbered(tmp_path / "clip.mp4", 5, (48, 64))
    (tmp_path / "box.json").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_first_command_writes_masks_and_a_picture(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "clip.mp4", "--prompt", "box.json"]) == 0
    printed = capsys.readouterr()
    first, *paths = printed.out.splitlines()
    assert first.startswith("done: 5 frames, 1 object, ")
    assert [path.strip() for path in paths] == [
        "runs/clip/masks/",
        "runs/clip/masklets.jsonl",
        "runs/clip/overlay.mp4",
        "runs/clip/run.json",
    ]
    assert all(Path(path.strip()).exists() for path in paths)
    assert printed.err == ""  # no bar where nobody looks


def in_terminal(size: tuple[int, int], *call: str) -> str:
    """What a command shows on a terminal of so many rows and columns."""
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-m", "vidseg", *call])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
    shown = b""
    with contextlib.suppress(OSError):  # Linux says so when the command has ended
        while piece := os.read(terminal, 65536):
            shown += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    return shown.decode()


@pytest.mark.parametrize("size", [(24, 100), (0, 0)], ids=["of a size", "of no size"])
def test_terminal_shows_how_far_it_is(place: Path, size: tuple[int, int]) -> None:
    call = ["track", "clip.mp4", "--prompt", "box.json", "--tracker", "flow", "--format", "png"]
    shown = in_terminal(size, *call)
    assert re.search(r"[0-5]/5 \[.*frames/s\]", shown)
    assert "done: 5 frames, 1 object, " in shown
    assert "/5 [" not in in_terminal(size, *call, "--overwrite", "--quiet")


def test_json_prints_facts_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "clip.mp4", "--prompt", "box.json", "--json", "--format", "png", *QUICK]) == 0
    printed = capsys.readouterr()
    facts = json.loads(printed.out)
    assert facts["status"] == "done"
    assert facts["outputs"] == ["runs/clip/masks"]
    assert facts["record"] == "runs/clip/run.json"
    assert facts["frames_done"] == 5
    assert facts["objects"] == [1]
    assert printed.err == ""


def test_json_lines_are_those_of_masklets_as_they_come(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["track", "clip.mp4", "--prompt", "box.json", "--json-lines", "--format", "rle", *QUICK]
    assert main(call) == 0
    printed = capsys.readouterr()
    assert printed.out == Path("runs/clip/masklets.jsonl").read_text()
    assert [json.loads(line)["frame"] for line in printed.out.splitlines()] == list(range(5))
    assert printed.err.startswith("done: 5 frames, 1 object, ")
    assert main([*call, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*call, "--overwrite", "--json"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_json_lines_go_on_where_an_interrupted_run_was(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbered(place / "long.mp4", 20, (48, 64))
    call = ["track", "long.mp4", "--prompt", "box.json", "--json-lines", "--quiet", "--queue", "1", *QUICK]
    write = JsonLinesWriter.write

    def write_until_interrupted(self: JsonLinesWriter, frame: Frame, masks: FrameMasks) -> None:
        write(self, frame, masks)
        if frame.index == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(JsonLinesWriter, "write", write_until_interrupted)
    assert main(call) == 130
    first = capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert main([*call, "--resume"]) == 0
    assert first + capsys.readouterr().out == Path("runs/long/masklets.jsonl").read_text()
    assert 3 <= len(first.splitlines()) < 20


def test_a_reader_of_json_lines_that_leaves_does_not_stop_the_run(place: Path) -> None:
    call = (
        f"{sys.executable} -m vidseg track clip.mp4 --prompt box.json --tracker flow --json-lines | head -n 1"
    )
    ended = subprocess.run(["sh", "-c", call], capture_output=True, check=False)
    assert json.loads(ended.stdout)["frame"] == 0
    assert json.loads(Path("runs/clip/run.json").read_text())["status"] == "done"
    assert b"Traceback" not in ended.stderr


def test_quiet_prints_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "box.json").write_text('{"box": [10, 10, 300, 30]}')
    assert main(["track", "clip.mp4", "--prompt", "box.json", "--quiet", "--format", "png", *QUICK]) == 0
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""


def test_warning_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "box.json").write_text('{"box": [10, 10, 300, 30]}')
    assert main(["track", "clip.mp4", "--prompt", "box.json", "--format", "png", *QUICK]) == 0
    assert capsys.readouterr().err == (
        "vidseg: warning: box.json, object 1, frame 0: "
        "the box was clipped to the frame: [10.0, 10.0, 64.0, 30.0]\n"
    )


def test_prompt_comes_from_standard_input(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(GOOD.encode())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert main(["track", "clip.mp4", "--prompt", "-", "--format", "png", *QUICK]) == 0


def test_folder_named_like_a_camera_is_a_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "0").mkdir()
    Image.fromarray(picture(0, (48, 64))).save(place / "0" / "a.png")
    assert main(["track", "0", "--prompt", "box.json", "--format", "png", *QUICK]) == 0
    assert "1 frame, 1 object" in capsys.readouterr().out


def test_done_run_is_not_run_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["track", "clip.mp4", "--prompt", "box.json", "--format", "png", *QUICK]
    assert main(call) == 0
    assert main(call) == 2
    assert main([*call, "--resume"]) == 0
    assert "done already: 5 frames" in capsys.readouterr().out
    assert main([*call, "--overwrite"]) == 0


@pytest.mark.parametrize("prompt", [["--box", "-10,-5,30,30"], ["--points", "-0.0,5;20,20"]])
def test_coordinates_may_begin_with_a_minus(place: Path, prompt: list[str]) -> None:
    assert main(["track", "clip.mp4", *prompt, *QUICK, "--format", "rle", "--quiet"]) == 0


def test_debug_shows_where_an_error_came_from(place: Path) -> None:
    with pytest.raises(Exception, match="no prompt file"):
        main(["track", "clip.mp4", "--prompt", "none.json", "--debug"])


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """180 frames more, of 0.9 MB each, would show if anything kept them."""
    (tmp_path / "box.json").write_text(GOOD)
    pictures, peaks = [picture(k, (480, 640)) for k in range(8)], {}
    for num_frames in (60, 240):
        video = tmp_path / f"{num_frames}.mp4"
        encode(video, (pictures[k % 8] for k in range(num_frames)), options={"preset": "ultrafast"})
        call = ["track", str(video), "--prompt", "box.json", "--tracker", str(fake_yaml(tmp_path)), "--quiet"]
        subprocess.run([sys.executable, "-m", "vidseg", *call], cwd=tmp_path, check=True)
        record = json.loads((tmp_path / f"runs/{num_frames}/run.json").read_text())
        peaks[num_frames] = record["peak_memory_bytes"]["host"]
    assert peaks[240] - peaks[60] < 30e6


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "prompt"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(GOOD), schema)


def modules_after(code: str, *names: str) -> set[str]:
    """Those of `names` that a process which ran `code` has imported."""
    show = f"{code}; import json, sys; sys.stderr.write(chr(10) + json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, check=True)
    return set(names) & set(json.loads(done.stderr.splitlines()[-1]))


def test_help_loads_nothing_heavy() -> None:
    code = "from vidseg.cli import main; main(['track', '--help'])"
    assert not modules_after(code, "torch", "cv2", "av", "numpy", "pydantic")


def test_names_and_files_are_checked_before_torch_is_loaded(place: Path) -> None:
    calls = [
        "segment frames --box 1,1,9,9 --format nosuch",
        "segment frames --box 1,1,9,9 --tracker nosuch",
        "everything frames --format nosuch",
        "everything nowhere",
        "everything frames --sampler nosuch",
        "everything frames --set nosuch=1",
        "everything frames --sampler grid --detector det.json",
        "compress --int8 --calibrate nowhere.mp4 --out out",
        "compress nosuch --int8 --calibrate clip.mp4 --out out",
        "export nosuch --out out",
        "train nowhere.yaml",
        "bench --tracker nosuch",
    ]
    checks = "; ".join(f"assert main({call.split()!r}) == 2" for call in calls)
    assert not modules_after(f"from vidseg.cli import main; {checks}", "torch")


def test_weight_free_run_loads_no_torch(place: Path) -> None:
    run = "import vidseg; vidseg.track('clip.mp4', 'box.json', tracker='flow', save_every=2)"
    restore = "tracker = vidseg.load('flow'); tracker.start().save('state'); tracker.restore('state')"
    assert not modules_after(f"{run}; {restore}", "torch")


@pytest.mark.parametrize(
    ("own", "spins"),
    [
        ({}, "20000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_threads_share_cores_unless_told_otherwise(
    own: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is as before after the test
        monkeypatch.delenv(name)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert main(["schema", "prompt"]) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == spins


@pytest.mark.parametrize(
    ("limit", "own", "threads"), [(None, None, None), (1.0, None, "1"), (0.5, None, "1"), (1.0, "7", "7")]
)
def test_there_are_as_many_threads_as_a_container_may_use_processors_for(
    limit: float | None, own: str | None, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "limit", lambda: limit)
    monkeypatch.setenv("OMP_NUM_THREADS", own or "")  # so that it is as before after the test
    if own is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    assert main(["schema", "prompt"]) == 0
    assert os.environ.get("OMP_NUM_THREADS") == threads


def test_threads_are_told_before_torch_is_loaded() -> None:
    assert not modules_after("import vidseg.cli", "torch", "numpy")
