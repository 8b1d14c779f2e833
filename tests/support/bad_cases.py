"""Calls of the command line with generated prompts, options, tables and damaged files, and what they may do.

Nothing of a case hangs on anything but its random numbers: the same `random.Random` gives the same call.
"""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from support.hard_videos import encode, picture
from vidseg.cli import main

SIZE_HW = (32, 48)
NUM_FRAMES = 6
GOOD_PROMPT = '{"box": [8, 8, 30, 24]}'

VIDEOS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"options": {"g": "3", "bf": "1"}},
    "h264.mkv": {"options": {"g": "3", "bf": "1"}},
    "h264.ts": {"options": {"g": "3", "bf": "1"}},
    "fragments.mp4": {"options": {"g": "3"}, "container": {"movflags": "frag_keyframe+empty_moov"}},
    "raw.h264": {"options": {"g": "3"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "vp8.webm": {"codec": "libvpx", "options": {"cpu-used": "8"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "ffv1.mkv": {"codec": "ffv1"},
}
STACKS = ("stack.tif", "animated.webp", "animated.gif", "animated.png")
FRAMES = ("png", "jpg", "tif", "bmp", "webp")

OPTIONS: dict[str, tuple[str, ...]] = {
    "--start": ("0", "1", "5", "6", "99", "-1", "x", "1e3", ""),
    "--end": ("0", "1", "6", "7", "-3", "x"),
    "--direction": ("forward", "backward", "both", "up"),
    "--format": ("png", "rle", "overlay", "png,rle", "coco", "mot", "tar", "png,png", ",", "gif", "all"),
    "--save-every": ("0", "1", "2", "-1", "x"),
    "--queue": ("1", "8", "0", "x"),
    "--reader": ("pyav", "decord", "x"),
    "--tracker": ("flow", "flo", "", "none.yaml", "prompt.json"),
    "--weights": ("prompt.json", "none.pt"),
    "--dtype": ("float32", "bfloat16", "x"),
    "--device": ("cpu", "auto", "x", "cuda:99"),
    "--image-size": ("64", "0", "-5", "x"),
    "--on-behind": ("wait", "drop", "x"),
}
FLAGS = ("--resume", "--overwrite", "--json", "--quiet", "--allow-random-weights", "--what", "more")
VALUES = (None, True, -1, 0, 1, 2.5, 1e308, 10**30, "", "a", "\udcff", [], {}, [1, 2], [[1, 2]], [1, 2, 3, 4])
KEYS = ("objects", "id", "label", "prompts", "frame", "box", "points", "labels", "mask", "x")


class BadCases:
    """Makes cases from whole files of its own.

    Args:
        folder: where those are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        pictures = [picture(k, SIZE_HW) for k in range(NUM_FRAMES)]
        for name, how in VIDEOS.items():
            encode(folder / name, pictures, **how)
        first, *others = map(Image.fromarray, pictures)
        for name in STACKS:
            first.save(folder / name, save_all=True, append_images=others)
        self.files = sorted(path for path in folder.iterdir() if path.is_file())

    def write(self, place: Path, choose: random.Random) -> list[str]:
        """A call, with the files it names written below `place`."""
        kind = choose.choices(
            ("file", "frames", "prompt", "options", "table", "jobs"), (40, 15, 20, 15, 5, 5)
        )[0]
        prompt = _prompt(choose) if kind == "prompt" or choose.random() < 0.1 else GOOD_PROMPT
        (place / "prompt.json").write_bytes(prompt if isinstance(prompt, bytes) else _as_bytes(prompt))
        if kind == "table":
            (place / "table.csv").write_bytes(_damaged(_table(choose), choose))
            return ["batch", "make", str(place / "table.csv"), "--out", str(place / "jobs.jsonl")]
        source = self._source(
            place, choose, is_damaged=kind in ("file", "frames"), of_frames=kind == "frames"
        )
        if kind == "jobs":
            (place / "jobs.jsonl").write_bytes(_jobs(source, choose))
            out = ["--out", str(place / "out"), "--workers", "0", "--retries", "0", "--tracker", "flow"]
            return ["batch", str(place / "jobs.jsonl"), *out]
        call = ["track", str(source), "--prompt", str(place / "prompt.json"), "--out", str(place / "out")]
        call += ["--tracker", "flow", "--format", choose.choice(("png", "rle", "png,rle", "png,rle,overlay"))]
        for _ in range(choose.randint(1, 4) if kind == "options" else choose.random() < 0.2):
            if choose.random() < 0.7:
                name = choose.choice(list(OPTIONS))
                call += [name, choose.choice(OPTIONS[name])]
            else:
                call.append(choose.choice(FLAGS))
        return call

    def _source(self, place: Path, choose: random.Random, *, is_damaged: bool, of_frames: bool) -> Path:
        if not of_frames:
            whole = choose.choice(self.files)
            data = whole.read_bytes()
            path = place / whole.name
            path.write_bytes(_damaged(data, choose) if is_damaged else data)
            return path
        folder = place / "frames"
        folder.mkdir()
        suffix = choose.choice(FRAMES)
        for number in range(NUM_FRAMES):
            path = folder / f"{number}.{suffix}"
            _frame(number, suffix, choose).save(path)
            if choose.random() < 0.3:
                path.write_bytes(_damaged(path.read_bytes(), choose))
        return folder


def what_is_wrong_after(call: list[str], place: Path) -> str | None:
    """Run a call of `BadCases.write`, and say what it should not have done."""
    inputs = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    printed, complaint = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(complaint):
            code = main(call)
    except BaseException as error:
        return f"raised {type(error).__name__}: {error}"
    told = [line for line in complaint.getvalue().splitlines() if not line.startswith("vidseg: warning:")]
    if code not in (0, 1, 2, 3):
        return f"ended with {code}"
    if any("Traceback" in line or "foresaw" in line for line in told):
        return f"told of a bug: {told}"
    if code in (1, 2) and not 1 <= len(told) <= (20 if call[0] == "batch" else 3):
        return f"ended with {code} and said {told}"
    if changed := [path for path, data in inputs.items() if not path.exists() or path.read_bytes() != data]:
        return f"changed its inputs {changed}"
    if parts := [path.name for path in place.rglob("*") if ".part" in path.name]:
        return f"left {parts}"
    if call[0] == "batch":
        return None if code in (0, 2, 3) else f"a batch ended with {code}"
    return _what_is_wrong_with(place / "out", code)


def _what_is_wrong_with(out: Path, code: int) -> str | None:
    if code == 2 or not out.exists():
        return "a call that was wrong wrote something" if out.exists() else None
    record = json.loads((out / "run.json").read_text())
    if record["status"] not in (("done",) if code == 0 else ("partial", "failed")):
        return f"ended with {code} and left a run that is {record['status']}"
    if missing := [name for name in record["outputs"] if not (out / name).exists()]:
        return f"lacks {missing}"
    frames = record["frames_done"]
    for folder in {
        path.parent for path in out.glob("masks/**/*.png")
    }:  # ids above 254 have folders of their own
        if len(list(folder.iterdir())) != frames:
            return f"has not the masks of {frames} frames"
    if "masklets.jsonl" in record["outputs"]:
        lines = (out / "masklets.jsonl").read_text().splitlines()
        if [json.loads(line)["frame"] for line in lines] != sorted(
            {json.loads(line)["frame"] for line in lines}
        ):
            return "has masklets out of order"
        if len(lines) != frames:
            return f"has {len(lines)} lines of masklets for {frames} frames"
    return None


def run_case(cases: BadCases, place: Path, choose: random.Random) -> tuple[list[str], str | None]:
    """One case in a folder of its own, removed afterwards: its call, and what is wrong."""
    place.mkdir(parents=True)
    try:
        call = cases.write(place, choose)
        return call, what_is_wrong_after(call, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _damaged(data: bytes, choose: random.Random) -> bytes:
    """Up to three kinds of damage."""
    ways: list[Callable[[bytearray], bytearray]] = [
        lambda d: d[: choose.randrange(len(d) + 1)],
        lambda d: _overwritten(d, choose, choose.choice((1, 1, 2, 4, 16, 200))),
        lambda d: _overwritten(d[:], choose, 1, within=64),
        lambda d: d[: (at := choose.randrange(len(d) + 1))] + d[at + choose.randrange(400) :],
        lambda d: d + d,
        lambda d: d + choose.randbytes(choose.randrange(300)),
        lambda d: choose.randbytes(choose.randrange(30)) + d,
        lambda d: bytearray(choose.randbytes(choose.randrange(300))),
    ]
    damaged = bytearray(data)
    for _ in range(choose.randint(1, 3)):
        damaged = bytearray(choose.choices(ways, (3, 6, 6, 3, 1, 1, 1, 0.3))[0](damaged))
    return bytes(damaged)


def _overwritten(data: bytearray, choose: random.Random, count: int, within: int | None = None) -> bytearray:
    if data:
        at = choose.randrange(min(len(data), within or len(data)))
        data[at : at + count] = choose.randbytes(len(data[at : at + count]))
    return data


def _frame(number: int, suffix: str, choose: random.Random) -> Image.Image:
    size_hw = SIZE_HW if choose.random() < 0.97 else (20, 20)
    image = Image.fromarray(picture(number, size_hw))
    if suffix == "tif" and choose.random() < 0.5:
        dtype, scale = choose.choice(
            ((np.float32, 1 / 255), (np.float32, 257.0), (np.uint16, 257), (np.int32, 1))
        )
        return Image.fromarray((np.asarray(image)[:, :, 0].astype(np.float64) * scale).astype(dtype))
    return image


def _prompt(choose: random.Random) -> str | bytes:
    if choose.random() < 0.3:
        return _damaged(GOOD_PROMPT.encode(), choose)
    return json.dumps(_value(choose, 0) if choose.random() < 0.4 else _near_miss(choose))


def _near_miss(choose: random.Random) -> dict[str, Any]:
    prompts = []
    for _ in range(choose.randint(0, 3)):
        box = [choose.choice((-5, 0, 8.5, 20, 30, 47, 48, 1e7)) for _ in range(4)]
        region: dict[str, Any] = {"frame": choose.choice((0, 0, 0, 1, 5, 6, 10**9, -1)), "box": sorted(box)}
        if choose.random() < 0.3:
            region[choose.choice(KEYS)] = _value(choose, 2)
        prompts.append(region)
    objects = [{"id": choose.choice((1, 1, 2, 300, 0, "a")), "prompts": prompts}]
    return {"objects": objects * choose.choice((1, 1, 2))}


def _value(choose: random.Random, depth: int) -> Any:
    if depth > 3 or choose.random() < 0.3:
        return choose.choice(VALUES)
    if choose.random() < 0.6:
        return {choose.choice(KEYS): _value(choose, depth + 1) for _ in range(choose.randint(0, 3))}
    return [_value(choose, depth + 1) for _ in range(choose.randint(0, 3))]


def _as_bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def _table(choose: random.Random) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, delimiter=choose.choice(",;\t"))
    rows.writerow(
        choose.sample(("id", "video", "prompt", "tracker", "end", "nonsense"), choose.randint(2, 6))
    )
    for _ in range(choose.randint(0, 4)):
        cells = ("a", "h264.mp4", GOOD_PROMPT, "", "7", '"', "x;y")
        rows.writerow([choose.choice(cells) for _ in range(choose.randint(1, 6))])
    return text.getvalue().encode(choose.choice(("utf-8", "utf-8-sig", "utf-16", "cp1252")))


def _jobs(source: Path, choose: random.Random) -> bytes:
    job: dict[str, Any] = {"id": "a", "video": str(source), "prompt": json.loads(GOOD_PROMPT)}
    if choose.random() < 0.5:
        job[choose.choice((*job, "tracker", "options", "x"))] = _value(choose, 2)
    line = _as_bytes(json.dumps(job))
    return _damaged(line, choose) if choose.random() < 0.3 else line
