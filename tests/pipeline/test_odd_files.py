"""Files of real users in the development data, by the command and with every kind of tracker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import vidseg
from support.parity import SMALL_MODEL
from vidseg.cli import main

NUM_FRAMES = {
    "colour_matrix_reserved.mp4": 6,
    "colour_transfer_reserved.mp4": 6,
    "mjpeg_with_exif.avi": 12,
    "three_pieces.ts": 24,
    "float_tiff": 6,
}
TRACKERS = {
    "flow": ["--tracker", "flow"],
    "engine": ["--tracker", "small.yaml", "--allow-random-weights", "--device", "cpu"],
}


@pytest.mark.parametrize("tracker", TRACKERS)
@pytest.mark.parametrize("name", NUM_FRAMES)
def test_it_is_tracked(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, tracker: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL_MODEL)
    source = shared / "data/odd_files" / name
    if not source.exists():
        pytest.skip(f"{source} is not there")
    (tmp_path / "box.json").write_text('{"box": [40, 40, 90, 90]}')
    out = tmp_path / "out"
    call = ["track", str(source), "--prompt", str(tmp_path / "box.json"), "--out", str(out)]
    assert main([*call, *TRACKERS[tracker]]) == 0
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], record["frames_done"]) == ("done", NUM_FRAMES[name])
    assert len(list((out / "masks").iterdir())) == NUM_FRAMES[name]
    assert len(record["warnings"]) == (name == "three_pieces.ts")


def test_floating_point_frames_are_as_light_as_they_are(shared: Path) -> None:
    folder = shared / "data/odd_files/float_tiff"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    assert next(iter(vidseg.read(folder))).image.mean() == pytest.approx(57, abs=1)
