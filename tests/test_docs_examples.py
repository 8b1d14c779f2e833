"""Every page of the documentation begins with an example that runs, and all of the README's run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support.hard_videos import encode
from support.made_datasets import make_davis
from vidseg.pipeline.made_video import MadeVideo

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ELSEWHERE = {
    *("backbones", "bank_policies", "compressors", "memory_attentions"),  # trackers/test_part_docs.py
    "plugins",  # a module with files beside it: test_plugins.py
    "compat",  # wants a checkpoint of many megabytes
    "fiftyone",  # wants FiftyOne
    "annotate",  # serves until it is ended: annotation/test_page_hour.py
    "annotate_protocol",  # messages, no example: annotation/test_server.py
    "export",  # wants published weights: export/test_export.py
    "compress",  # begins with an export, which other tests read, too: compression/test_int8.py
    "annotation",  # wants a clip of 121 frames: annotation/test_session.py
}
"""Pages whose first examples other tests run, or none can."""
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem not in ELSEWHERE]
LAST_LINE = 16
"""An example further down would not be what a page begins with."""
NOT_RUN = re.compile(r"(pip install|make|vidseg annotate) ")
"""Lines that change the environment, or serve until they are ended; other tests type them, and readers."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that examples speak of, and the command `vidseg`."""
    video = MadeVideo(num_frames=6, size_hw=(72, 128))
    images = [frame.image for frame, _ in video if frame.image is not None]
    (tmp_path / "clips").mkdir()
    for path in (tmp_path / "video.mp4", tmp_path / "clips" / "a.mp4", tmp_path / "clips" / "b.mp4"):
        encode(path, images)
    box = video.prompts()["objects"][0]["prompts"][0]["box"]
    for path in (tmp_path / "box.json", tmp_path / "clips" / "a.json", tmp_path / "clips" / "b.json"):
        path.write_text(json.dumps({"box": box}))
    Image.fromarray(images[0]).save(tmp_path / "photo.jpg")
    make_davis(tmp_path / "DAVIS")
    command = tmp_path / "bin" / "vidseg"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vidseg "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_begins_with_an_example_that_runs(page: Path, folder: Path) -> None:
    text = page.read_text(encoding="utf-8")
    example = BLOCK.search(text)
    assert example is not None
    assert text.count("\n", 0, example.start()) < LAST_LINE
    in_readme = commands("".join(block for _, block in BLOCK.findall(README)))
    if not commands(example[2]) <= in_readme:  # else the next test runs it, among the same files
        run_block(example[1], example[2], folder)


@pytest.mark.slow
def test_all_of_the_readme_runs(folder: Path) -> None:
    blocks = BLOCK.findall(README)
    assert {language for language, _ in blocks} == {"sh", "python"}
    for language, block in blocks:
        run_block(language, block, folder)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 130


def commands(text: str) -> set[str]:
    """Lines without their comments."""
    return {line.split(" #")[0].strip() for line in text.splitlines()}


def run_block(language: str, block: str, folder: Path) -> None:
    if language == "python":
        command = [sys.executable, "-c", block]
    else:
        lines = [line for line in block.splitlines() if not NOT_RUN.match(line)]
        command = ["bash", "-euc", "\n".join(lines)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
