"""Blocks learn how they are rounded: they come nearer to float32 on pictures that they did not learn from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import vidseg
from support.image_models import TINY, compress_call, written
from vidseg import cli
from vidseg.compression.low_bits.compress import compress_low_bits
from vidseg.compression.low_bits.pictures import Prompted
from vidseg.compression.low_bits.subject import Subject
from vidseg.errors import CheckpointError, ConfigError, InputError
from vidseg.pipeline.made_video import MadeVideo
from vidseg.trackers.options import TrackerOptions

STEPS = 60


def picture(seed: int) -> np.ndarray:
    """Blobs of colour, so that pictures have something in common."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((60, 40), Image.Resampling.BILINEAR))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(12):
        Image.fromarray(picture(seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def both(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path, Any]:
    """A small model, the folders of its four bits as calibrated and as learned, and the latter's report."""
    folder = tmp_path_factory.mktemp("both")
    path, weights = written(TINY, folder)
    asked = TrackerOptions.of(path, weights=weights)
    plain, learned = folder / "plain", folder / "learned"
    compress_low_bits(asked, pictures, plain, bits="W4A4")
    report = compress_low_bits(asked, pictures, learned, bits="W4A4", steps=STEPS)
    return vidseg.load_image(path, weights=weights, device="cpu"), plain, learned, report


def test_the_error_of_each_block_falls_on_pictures_held_out(both: Any) -> None:
    *_, learned, report = both
    assert [name.rpartition(".")[2] for name in report.blocks] == ["0", "1"]
    assert all(block.learned < block.calibrated for block in report.blocks.values())
    assert json.loads((learned / "report.json").read_text(encoding="utf-8"))["steps"] == STEPS


def test_what_was_learned_is_what_is_loaded_and_holds_for_other_pictures(both: Any) -> None:
    exact, plain, learned, _ = both
    unseen = [picture(seed) for seed in range(100, 104)]
    apart = {}
    for folder in (plain, learned):
        model = vidseg.load_image(folder / "tracker.yaml", device="cpu")
        apart[folder] = np.mean(
            [np.square(model.embed(each).features - exact.embed(each).features).mean() for each in unseen]
        )
    assert apart[learned] < apart[plain]


def test_a_damaged_choice_between_up_and_down_is_named(both: Any) -> None:
    learned = both[2]
    scales = load_file(learned / "scales.safetensors")
    key = next(key for key in sorted(scales) if key.endswith("/weight/up-or-down/up"))
    save_file({**scales, key: torch.full_like(scales[key], 2)}, learned / "scales.safetensors")
    try:
        with pytest.raises(CheckpointError, match="is no scale"):
            vidseg.load_image(learned / "tracker.yaml", device="cpu")
    finally:
        save_file(scales, learned / "scales.safetensors")


def test_too_few_pictures_to_judge_by_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, weights = written(TINY, tmp_path)
    call = compress_call(path, weights, pictures, "--simulate-bits", "W4A4")
    assert cli.main([*call, "--out", str(tmp_path / "out"), "--reconstruct", "--frames", "3"]) == 2
    assert "from 4 pictures or more" in capsys.readouterr().err
    assert cli.main([*call, "--out", str(tmp_path / "out"), "--reconstruct", "0"]) == 2
    assert "at least 1 step" in capsys.readouterr().err
    with pytest.raises(InputError, match="-1"):
        compress_low_bits(
            TrackerOptions.of(path, weights=weights), pictures, tmp_path / "out", bits="W4A4", steps=-1
        )
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeVideo, Path]:
    video, folder = MadeVideo(num_frames=4, size_hw=(90, 160)), tmp_path_factory.mktemp("clip")
    for frame, _ in video:
        assert frame.image is not None
        Image.fromarray(frame.image).save(folder / f"{frame.index:05d}.png")
    return video, folder


def test_vidseg_nano_tracks_with_few_bits(clip: Any, tmp_path: Path) -> None:
    video, folder = clip
    box = video.prompts()["objects"][0]["prompts"][0]["box"]
    asked = TrackerOptions.of("vidseg-nano")
    given: dict[str, Any] = {"calibrator": "plain", "box": box, "frames": 2}
    report = compress_low_bits(asked, folder, tmp_path / "out", bits="W8A8", **given)
    assert report.layers > 40
    tracker = vidseg.load(tmp_path / "out/tracker.yaml", device="cpu")
    assert tracker.describe()["config"]["low_bits"]["bits"] == "W8A8"
    sessions = [each.start() for each in (tracker, vidseg.load("vidseg-nano", device="cpu"))]
    for session in sessions:
        session.prompt(1, box=box)
    for frame, _ in video:
        mine, theirs = (session.step(frame) for session in sessions)
        assert not np.array_equal(mine.low_res_logits, theirs.low_res_logits)
        assert (mine.masks & theirs.masks).sum() >= 0.8 * (mine.masks | theirs.masks).sum()
    given["calibrator"] = "q-tiny-sam"
    with pytest.raises(ConfigError, match="needs gradients"):
        compress_low_bits(asked, folder, tmp_path / "other", bits="W8A8", **given)
    assert not (tmp_path / "other").exists()


def test_a_tracker_works_in_the_same_calls_whatever_masks_come_out(clip: Any) -> None:
    """Blocks are compared call by call with and without rounding, which changes masks."""
    video, _ = clip
    box = video.prompts()["objects"][0]["prompts"][0]["box"]
    pictures = [Prompted(frame.image, [{"box": box}]) for frame, _ in video]
    subject = Subject.of(TrackerOptions.of("vidseg-nano"))
    model, counts = subject.module, []
    for spoilt in (0.0, -1000.0):
        calls: list[Any] = []
        hooks = [
            model.backbone.register_forward_hook(lambda *_, calls=calls: calls.append(1)),
            model.decoder.register_forward_hook(
                lambda _module, _given, maps, by=spoilt: replace(maps, logits_rhw=maps.logits_rhw + by)
            ),
        ]
        for run in subject.runs(pictures, with_importance=False):
            with torch.no_grad():
                run()
        for hook in hooks:
            hook.remove()
        counts.append(len(calls))
    assert counts[0] == counts[1] >= len(pictures)
