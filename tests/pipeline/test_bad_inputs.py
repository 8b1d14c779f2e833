"""Wrong calls, files, prompts and options: exit code 2 or 1, three lines at most, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from support.hard_videos import numbered, picture
from vidseg.cli import main

SIZE_HW = (48, 64)
GOOD = '{"box": [10, 10, 30, 30]}'
FRAMES = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of frames and a good prompt, in an otherwise empty place."""
    (tmp_path / "frames").mkdir()
    for k in range(FRAMES):
        Image.fromarray(picture(k, SIZE_HW)).save(tmp_path / "frames" / f"{k:05d}.png")
    (tmp_path / "good.json").write_text(GOOD)
    return tmp_path


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refused(
    capsys: pytest.CaptureFixture[str], folder: Path, *argv: str, exit_code: int = 2, complaint: str = ""
) -> None:
    """The call ends with this code and a complaint, and leaves the folder as it was."""
    before = tree(folder)
    code = main(list(argv))
    printed = capsys.readouterr()
    assert code == exit_code, printed.err
    assert 1 <= len(printed.err.splitlines()) <= 3, printed.err
    assert printed.err.startswith("vidseg")
    assert "Traceback" not in printed.err
    assert "not an error we foresaw" not in printed.err
    assert complaint in printed.err
    assert tree(folder) == before


def call(folder: Path, *more: str, source: str = "frames", prompt: str = "good.json") -> list[str]:
    out = [] if "--out" in more else ["--out", str(folder / "out")]
    return ["track", str(folder / source), "--prompt", str(folder / prompt), *out, *more]


PROMPTS = [
    "",
    " ",
    "{",
    "}",
    "[]",
    "[1, 2, 3, 4]",
    "null",
    "true",
    "12",
    '"box"',
    "NaN",
    "{}",
    "box: [1, 2, 3, 4]",
    "{'box': [1, 2, 3, 4]}",
    '{"box": [1, 2, 3, 4],}',
    '{"box": [1, 2, 3, 4]} trailing',
    '{"box": [1, 2, 3, 4], "box": [1, 2, 3, 4]}',
    '{"box": [1, 2, 3, NaN]}',
    '{"box": [1, 2, 3, -Infinity]}',
    '{"box": [1, 2, 3, 1e400]}',
    '{"box": [1, 2, 3, 1e39]}',
    '{"box": [1, 2, 3, %s]}' % ("1" * 6000),
    '{"box": null}',
    '{"box": []}',
    '{"box": {}}',
    '{"box": "1 2 3 4"}',
    '{"box": [1, 2, 3]}',
    '{"box": [1, 2, 3, 4, 5]}',
    '{"box": [[1, 2], [3, 4]]}',
    '{"box": [30, 10, 10, 30]}',
    '{"box": [10, 30, 30, 10]}',
    '{"box": [10, 10, 10, 10]}',
    '{"box": [64, 0, 80, 20]}',
    '{"box": [-20, -20, 0, 0]}',
    '{"box": [1000, 1000, 2000, 2000]}',
    '{"box": ["1", 2, 3, 4]}',
    '{"box": [true, false, true, true]}',
    '{"box": [1, 2, 3, 4], "label": "dog"}',
    '{"box": [1, 2, 3, 4], "frame": 1}',
    '{"box": [1, 2, 3, 4], "labels": [1]}',
    '{"bbox": [1, 2, 3, 4]}',
    '{"Box": [1, 2, 3, 4]}',
    '{"\\n\\n\\n\\n": 1}',
    '{"%s": 1}' % ("long" * 5000),
    '{"points": [], "labels": []}',
    '{"points": [[5, 5]], "labels": []}',
    '{"points": [[5, 5]], "labels": [1, 1]}',
    '{"points": [[5, 5]], "labels": [2]}',
    '{"points": [[5, 5]], "labels": [-1]}',
    '{"points": [[5, 5]], "labels": ["1"]}',
    '{"points": [[5, 5, 5]], "labels": [1]}',
    '{"points": [5, 5], "labels": [1]}',
    '{"points": [[500, 5]], "labels": [1]}',
    '{"points": [[-1, 5]], "labels": [1]}',
    '{"labels": [1]}',
    '{"mask": "none.png"}',
    '{"mask": ""}',
    '{"mask": "."}',
    '{"mask": ".."}',
    '{"mask": "good.json"}',
    '{"mask": "a\\u0000b"}',
    '{"mask": "\\ud800"}',
    '{"mask": ["a.png"]}',
    '{"mask": "frames/00000.png"}',
    '{"mask": "frames/00000.png", "box": [1, 2, 3, 4]}',
    '{"objects": null}',
    '{"objects": []}',
    '{"objects": [1]}',
    '{"objects": [{}]}',
    '{"objects": {"1": {"box": [1, 2, 3, 4]}}}',
    '{"objects": [{"id": 1, "prompts": []}]}',
    '{"objects": [{"id": 1, "prompts": [{"frame": 0}]}]}',
    '{"objects": [{"id": 1, "prompts": [{"box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "box": [1, 2, 3, 4]}]}',
    '{"objects": [{"prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 0, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": -1, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1.5, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": "a", "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 9999999999, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "label": 3, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "prompts": [{"frame": -1, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "prompts": [{"frame": 0.5, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "prompts": [{"frame": "0", "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "prompts": [{"frame": 3, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "prompts": [{"frame": 999999999999, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "prompts": [{"frame": 0, "bax": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]},'
    ' {"frame": 0, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]},'
    ' {"id": 1, "prompts": [{"frame": 1, "box": [1, 2, 3, 4]}]}]}',
    '{"objects": [], "box": [1, 2, 3, 4]}',
    "[" * 50_000,
    '{"a":' * 50_000,
]


@pytest.mark.parametrize("text", PROMPTS, ids=lambda text: text[:40])
def test_wrong_prompts(capsys: pytest.CaptureFixture[str], folder: Path, text: str) -> None:
    (folder / "bad.json").write_text(text)
    refused(capsys, folder, *call(folder, prompt="bad.json"))


@pytest.mark.parametrize("data", [b"\xff\xfe{\x00}\x00", b"\x00" * 20, b'{"box": "\xff"}'])
def test_prompts_in_another_encoding(capsys: pytest.CaptureFixture[str], folder: Path, data: bytes) -> None:
    (folder / "bad.json").write_bytes(data)
    refused(capsys, folder, *call(folder, prompt="bad.json"))


@pytest.mark.parametrize("prompt", ["none.json", "frames", "good.json/below"])
def test_prompt_files_that_are_not_there(
    capsys: pytest.CaptureFixture[str], folder: Path, prompt: str
) -> None:
    refused(capsys, folder, *call(folder, prompt=prompt), complaint="prompt file")


@pytest.mark.parametrize(
    ("size_hw", "values"),
    [((48, 48), 1), ((10, 64), 1), ((96, 64), 1), ((48, 64), 0), ((1, 1), 1)],
)
def test_masks_that_do_not_fit(
    capsys: pytest.CaptureFixture[str], folder: Path, size_hw: tuple[int, int], values: int
) -> None:
    Image.fromarray(np.full(size_hw, values, np.uint8)).save(folder / "mask.png")
    (folder / "bad.json").write_text('{"mask": "mask.png"}')
    refused(capsys, folder, *call(folder, prompt="bad.json"), complaint="mask")


OPTIONS = [
    "--start x",
    "--start -1",
    "--start 1.5",
    "--start 3",
    "--start 99999999",
    "--start 999",  # past the end
    "--end x",
    "--end 0",
    "--end -5",
    "--start 2 --end 1",
    "--start 2 --end 2",
    "--direction up",
    "--direction",
    "--format gif",
    "--format png,gif",
    "--format png,png",
    "--format ,",
    "--format png;rle",
    "--tracker none",
    "--tracker none.yaml",
    "--tracker ../flow",
    "--tracker flow\n\n\n\nflow",
    "--weights none.pt",
    "--tracker flow --weights good.json",
    "--dtype float8",
    "--tracker flow --dtype bfloat16",  # which it does not compute in
    "--device quantum",
    "--image-size big",
    "--image-size -1",
    "--tracker flow --image-size 512",  # which it has no use for
    "--queue 0",
    "--queue many",
    "--save-every -1",
    "--save-every often",
    "--reader ffmpeg",
    "--on-behind skip",
    "--resume --overwrite",
    "--resume=yes",
    "--fast",
    "another-source",
    "--out good.json",
    "--out good.json/below",
    "--out /dev/null/out",
    "--out /proc/vidseg",
]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_wrong_options(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    monkeypatch.chdir(folder)
    refused(capsys, folder, *call(folder, *options.split(" ")))


@pytest.mark.parametrize("out", ["", "a\0b", "x" * 5000])
def test_names_that_no_folder_can_have(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(folder)
    refused(capsys, folder, *call(folder, "--out", out))


@pytest.mark.parametrize(
    "argv",
    [
        ["track"],
        ["track", "frames"],
        ["track", "--prompt", "good.json"],
        ["trak"],
        ["schema"],
        ["schema", "x"],
    ],
)
def test_wrong_calls(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    monkeypatch.chdir(folder)
    refused(capsys, folder, *argv)


@pytest.mark.parametrize(
    "yaml",
    [
        "",
        "[]",
        "kind: [",
        "kind: magic",
        "a: b",
        "kind: flow\nspeed: 9",
        "kind: flow\nmax_side: wide",
        "\x00",
    ],
)
def test_wrong_tracker_files(capsys: pytest.CaptureFixture[str], folder: Path, yaml: str) -> None:
    (folder / "mine.yaml").write_text(yaml)
    refused(capsys, folder, *call(folder, "--tracker", str(folder / "mine.yaml")))


def sound(path: Path) -> None:
    with av.open(path, "w") as output:
        stream: Any = output.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        output.mux([*stream.encode(silence), *stream.encode(None)])


def cut_off(path: Path) -> None:
    numbered(path, 5)
    path.write_bytes(path.read_bytes()[:300])


SOURCES: dict[str, Callable[[Path], Any]] = {
    "none.mp4": lambda path: None,
    "empty.mp4": lambda path: path.write_bytes(b""),
    "text.mp4": lambda path: path.write_text("no video\n" * 100),
    "zeros.mkv": lambda path: path.write_bytes(bytes(5000)),
    "cut-off.mp4": cut_off,
    "sound.mp4": sound,
    "empty-folder": lambda path: path.mkdir(),
    "notes": lambda path: (path.mkdir(), (path / "a.txt").write_text("no frame")),
    "broken-frames": lambda path: (path.mkdir(), (path / "0.png").write_text("no frame")),
    "line\nbreaks\nin\nits\nname.mp4": lambda path: None,
}


@pytest.mark.parametrize("name", SOURCES, ids=repr)
def test_wrong_sources(capsys: pytest.CaptureFixture[str], folder: Path, name: str) -> None:
    SOURCES[name](folder / name)
    refused(capsys, folder, *call(folder, source=name))


@pytest.mark.parametrize(
    "source", ["", "ftp//none", "nothing://127.0.0.1/x", "http://127.0.0.1:9/none.mp4", "99", "a\0b"]
)
def test_wrong_addresses(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(folder)
    refused(capsys, folder, "track", source, "--prompt", "good.json", "--out", "out")


def test_source_that_breaks_in_the_middle_is_a_failure_with_what_came_before(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "frames" / "00002.png").write_text("no frame")
    assert main(call(folder, "--quiet")) == 1
    complaint = capsys.readouterr().err
    assert 1 <= len(complaint.splitlines()) <= 3
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["status"] == "partial"
    assert record["error"]["frame"] == 2
    assert len(list((folder / "out" / "masks").iterdir())) == 2
    assert len((folder / "out" / "masklets.jsonl").read_text().splitlines()) == 2


numbers = st.integers() | st.floats() | st.integers(-10, 80)
leaves = numbers | st.booleans() | st.none() | st.text(max_size=5) | st.lists(numbers, min_size=4, max_size=4)
keys = st.sampled_from(
    ["objects", "id", "label", "prompts", "frame", "box", "points", "labels", "mask"]
) | st.text(max_size=5)
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)
near_misses = st.fixed_dictionaries(
    {
        "objects": st.lists(
            st.fixed_dictionaries(
                {
                    "id": st.integers(-1, 3) | leaves,
                    "prompts": st.lists(
                        st.dictionaries(keys, json_values, max_size=3).map(lambda d: {"frame": 0, **d}),
                        max_size=2,
                    ),
                }
            ),
            max_size=2,
        )
    }
)


@settings(max_examples=150)
@given(document=json_values | near_misses)
def test_generated_prompts(
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    document: Any,
) -> None:
    folder = tmp_path_factory.mktemp("generated")
    (folder / "frames").mkdir()
    Image.fromarray(picture(0, SIZE_HW)).save(folder / "frames" / "0.png")
    (folder / "prompt.json").write_text(json.dumps(document))
    before = tree(folder)
    code = main(call(folder, "--format", "png", "--quiet", prompt="prompt.json"))
    printed = capsys.readouterr()
    if code == 0:
        assert json.loads((folder / "out" / "run.json").read_text())["status"] == "done"
    else:
        assert code == 2, printed.err
        assert 1 <= len(printed.err.splitlines()) <= 3
        assert "not an error we foresaw" not in printed.err
        assert tree(folder) == before
