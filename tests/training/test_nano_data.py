"""recipes/nano_data.py: videos and the masks of nano_clips.json become sequences that training can read."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from support.annotated import write_video
from vidseg.pipeline.read import read
from vidseg.pipeline.writers.rle import decode_rle, encode_rle
from vidseg.training.data.sources import VosSource

RECIPES = Path(__file__).parents[2] / "recipes"
SCRIPT = runpy.run_path(str(RECIPES / "nano_data.py"))


def test_frames_and_their_masks_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train_clips").mkdir()
    write_video(tmp_path / "train_clips/one.mp4")
    frames = [np.asarray(frame.image) for frame in read(tmp_path / "train_clips/one.mp4")]
    height, width = frames[0].shape[0] // 2, frames[0].shape[1] // 2
    small = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    first, second = np.zeros((2, height, width), bool)
    first[2:9, 3:8], second[4:6, 10:14] = True, True
    masks = {1: (first, second), 4: (first, np.zeros_like(second))}
    clips: dict[str, Any] = {
        "size": [height, width],
        "sequences": [
            {
                "video": "one.mp4",
                "objects": ["a", "b"],
                "frames": {
                    str(index): [encode_rle(mask)["counts"] for mask in pair] for index, pair in masks.items()
                },
            },
            {"video": "none.mp4", "objects": ["a"], "frames": {"0": [encode_rle(first)["counts"]]}},
        ],
    }
    listed = tmp_path / "clips.json"
    listed.write_text(json.dumps(clips))
    monkeypatch.setitem(SCRIPT["write_clips"].__globals__, "CLIPS", listed)
    SCRIPT["write_clips"](tmp_path, tmp_path / "out")
    assert "none.mp4" in capsys.readouterr().out

    source = VosSource([str(tmp_path / "out")])
    assert [source.frames_of(index) for index in range(len(source))] == [2]
    for place, (index, pair) in enumerate(masks.items()):
        image, labels = source.get(0, place)
        assert np.array_equal(labels, pair[0] + 2 * pair[1])
        # JPEG changes a frame by less than motion does.
        assert np.argmin([np.abs(image.astype(int) - other).mean() for other in small]) == index
    shown = Image.open(next((tmp_path / "out/Annotations/480p").rglob("*.png")))
    assert shown.mode == "P"


def test_the_masks_of_clips_are_whole() -> None:
    clips = json.loads((RECIPES / "nano_clips.json").read_text())
    for sequence in clips["sequences"]:
        numbers = [int(number) for number in sequence["frames"]]
        assert numbers == sorted(numbers)
        for counts in sequence["frames"].values():
            masks = [decode_rle({"size": clips["size"], "counts": text}) for text in counts]
            assert len(masks) == len(sequence["objects"])
            assert np.sum(masks, axis=0).max() <= 1  # no two hold the same pixel
