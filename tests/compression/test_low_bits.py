"""`vidseg compress --simulate-bits`: image models of few bits load, segment and follow like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

import vidseg
from support.image_models import TINY, compress_call, written, written_small
from support.training import tracker_yaml, training_settings
from vidseg import cli
from vidseg.compression.low_bits import q_tiny_sam, steps
from vidseg.compression.low_bits.compress import compress_low_bits
from vidseg.compression.low_bits.table import CALIBRATORS
from vidseg.errors import CheckpointError, ConfigError, VidsegError
from vidseg.trackers.check_scene import scene_box, scene_frame
from vidseg.trackers.low_bits.places import PARTS
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.weights import read_checkpoint, sha256_of
from vidseg.training.run import train

SMALL = "slim-sam-77"
PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
"""The first of the pictures with which models are calibrated."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for place in range(2):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3)).astype(np.uint8)).save(folder / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Makes a small model, once: its YAML, and its weights."""

    @cache
    def make(name: str) -> tuple[Path, Path]:
        return written_small(name, tmp_path_factory.mktemp(name))

    return make


@pytest.fixture(scope="module")
def few(made: Any, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model in six bits."""
    path, weights = made(SMALL)
    out = tmp_path_factory.mktemp("few") / "out"
    compress_low_bits(TrackerOptions.of(path, weights=weights), pictures, out, bits="W6A6", parts=PARTS)
    return out


def candidates(model: Any) -> Any:
    return model.embed(PICTURE).candidates(box=(5, 5, 30, 30))


@pytest.mark.parametrize("name", CALIBRATORS)
def test_few_bits_change_features_and_many_hardly_do(name: str, pictures: Path, tmp_path: Path) -> None:
    path, weights = written(TINY, tmp_path)
    asked = TrackerOptions.of(path, weights=weights)
    want = vidseg.load_image(asked.tracker, weights=asked.weights, device="cpu").embed(PICTURE).features
    apart = {}
    for bits in ("W4A4", "W16A16"):
        out = tmp_path / bits
        report = compress_low_bits(asked, pictures, out, bits=bits, calibrator=name)
        assert (report.layers, report.attentions) == (2 * 4 + 2, 2)
        got = vidseg.load_image(out / "tracker.yaml").embed(PICTURE).features
        apart[bits] = float((got - want).std() / want.std())
        assert json.loads((out / "report.json").read_text(encoding="utf-8"))["bits"] == bits
    assert apart["W16A16"] <= 1e-2
    assert apart["W4A4"] > 3 * apart["W16A16"]
    assert report.cosine >= 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobile-sam", "tiny-sam", "efficient-sam-ti"])
def test_other_transformers_are_quantised_too(
    name: str, made: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Eight bits need no fine search for steps, which is tried with four, above.
    monkeypatch.setattr(steps, "COARSE", steps.COARSE[:3])
    monkeypatch.setattr(steps, "FINE", ())
    monkeypatch.setattr(q_tiny_sam, "ROUNDS", 1)
    path, weights = made(name)
    asked = TrackerOptions.of(path, weights=weights)
    report = compress_low_bits(
        asked, pictures, tmp_path / "out", bits="W8A8", calibrator="q-tiny-sam", parts=PARTS
    )
    assert report.cosine >= 0.99
    want, got = (
        candidates(vidseg.load_image(each, **more, device="cpu"))
        for each, more in ((path, {"weights": weights}), (tmp_path / "out/tracker.yaml", {}))
    )
    assert np.corrcoef(want.low_res_logits.ravel(), got.low_res_logits.ravel())[0, 1] >= 0.95


def test_it_follows_a_video_and_its_weights_are_a_checkpoint_like_any_other(few: Path, made: Any) -> None:
    tracker = vidseg.load(few / "tracker.yaml")
    session = tracker.start()
    session.prompt(1, box=scene_box(1, 0))
    masks = [session.step(scene_frame(index)).masks for index in range(2)]
    assert masks[0].shape == (1, *scene_frame(0).size_hw)
    assert tracker.describe()["config"]["low_bits"]["bits"] == "W6A6"
    _, weights = made(SMALL)
    # No keys of the random model have two peaks, so nothing is folded.
    before, after = read_checkpoint(weights), read_checkpoint(few / "weights.safetensors")
    assert set(before) == set(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_one_part_alone_leaves_the_other_as_it_is(made: Any, pictures: Path, tmp_path: Path) -> None:
    path, weights = made(SMALL)
    compress_low_bits(
        TrackerOptions.of(path, weights=weights),
        pictures,
        tmp_path / "out",
        bits="w4a4",
        parts=["mask_decoder"],
    )
    want, got = (
        vidseg.load_image(each, **more, device="cpu").embed(PICTURE)
        for each, more in ((path, {"weights": weights}), (tmp_path / "out/tracker.yaml", {}))
    )
    np.testing.assert_allclose(got.features, want.features, atol=1e-5)
    given = {"box": (5, 5, 30, 30)}
    assert not np.allclose(
        got.candidates(**given).low_res_logits, want.candidates(**given).low_res_logits, atol=1e-3
    )


def test_the_command_writes_and_tells(
    made: Any, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, weights = made(SMALL)
    call = compress_call(path, weights, pictures, "--simulate-bits", "8")
    out = ["--out", str(tmp_path / "out")]
    assert cli.main([*call, *out, "--calibrator", "plain", "--box", "5,5,30,30", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    assert report["pictures"] == 2
    assert report["bits"] == "W8A8"
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "report.json",
        "scales.safetensors",
        "tracker.yaml",
        "weights.safetensors",
    }
    assert cli.main([*call, *out]) == 2
    assert "there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        (SMALL, ["--simulate-bits", "W1A8"], "W1A8"),
        (SMALL, ["--simulate-bits", "six"], "4 (W4A4), 6, W4A8"),
        (SMALL, ["--simulate-bits", "17"], "each from 2 to 16"),
        (SMALL, ["--simulate-bits", "W6A6", "--epochs", "3"], "--epochs does not go with --simulate-bits"),
        (SMALL, ["--simulate-bits", "W6A6", "--device", "cpu"], "it is for --prune and --within-ms"),
        (SMALL, ["--int8", "--reconstruct"], "--reconstruct does not go with --int8"),
        (SMALL, ["--prune", "0.5", "--calibrator", "plain"], "it is for --simulate-bits"),
        (SMALL, ["--simulate-bits", "W6A6", "--calibrator", "ptq4sm"], "did you mean 'ptq4sam'"),
        (SMALL, ["--simulate-bits", "W6A6", "--parts", "image_encodr"], "did you mean 'image_encoder'"),
        ("edge-sam", ["--simulate-bits", "W6A6"], "no attention"),
        ("pico-sam2", ["--simulate-bits", "W6A6"], "no attention"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    name: str,
    more: list[str],
    message: str,
    made: Any,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, weights = made(name)
    call = compress_call(path, weights, pictures)
    assert cli.main([*call, "--out", str(tmp_path / "out"), *more]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) <= 3
    assert not list(tmp_path.iterdir())


def test_without_pictures_a_drawn_video_calibrates(
    made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, weights = made(SMALL)
    call = ["compress", str(path), "--weights", str(weights), "--out", str(tmp_path / "out"), "--frames", "3"]
    assert cli.main([*call, "--int8"]) == 2
    assert "fix: --calibrate CLIP" in capsys.readouterr().err
    assert cli.main([*call, "--simulate-bits", "8", "--calibrator", "plain", "--json"]) == 0
    told = capsys.readouterr()
    assert "calibrated on a drawn video" in told.err
    assert json.loads(told.out)["pictures"] == 3


def test_other_trackers_with_a_memory_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [
        "compress",
        "--simulate-bits",
        "W6A6",
        "--out",
        str(tmp_path / "out"),
        "--calibrate",
        str(pictures),
    ]
    assert cli.main([*call, tracker_yaml(tmp_path, sam2=True), "--allow-random-weights"]) == 2
    assert "few bits are for image models" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bad_pictures_are_refused(made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["compress", "--simulate-bits", "W6A6", "--out", str(tmp_path / "out"), "--calibrate"]
    path, weights = made(SMALL)
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    assert cli.main([*call, str(tmp_path / "clip.mp4"), str(path), "--weights", str(weights)]) != 0
    assert "clip.mp4" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]


def test_training_and_compressing_again_refuse_few_bits(few: Path, pictures: Path, tmp_path: Path) -> None:
    distil = {"teacher": str(few / "tracker.yaml"), "truth": 0.0, "embedding": 1.0}
    asked = training_settings(tmp_path, tracker=str(few / "tracker.yaml"), distil=distil)
    with pytest.raises(ConfigError, match="the model has few bits") as raised:
        train(asked, tmp_path / "run")
    assert len(str(raised.value).splitlines()) <= 3
    with pytest.raises(ConfigError, match="the model has few bits"):
        compress_low_bits(TrackerOptions.of(few / "tracker.yaml"), pictures, tmp_path / "out", bits="W4A4")
    assert not (tmp_path / "out").exists()


def test_a_model_of_float32_says_nothing_of_bits(made: Any) -> None:
    path, weights = made(SMALL)
    assert "low_bits" not in vidseg.load(path, weights=weights).describe()["config"]


def _scales(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    scales = load_file(folder / "scales.safetensors")
    change(scales)
    save_file(scales, folder / "scales.safetensors")


def _yaml(folder: Path, **changes: Any) -> None:
    path = folder / "tracker.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["low_bits"] |= changes
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


def _first(scales: dict[str, Any], end: str) -> str:
    return next(key for key in sorted(scales) if key.endswith(end))


HARMS: list[tuple[Callable[[Path], Any], type[VidsegError], str]] = [
    (lambda at: (at / "scales.safetensors").unlink(), CheckpointError, "no such checkpoint"),
    (lambda at: (at / "scales.safetensors").write_bytes(b"{}"), CheckpointError, "not a checkpoint"),
    (lambda at: _scales(at, lambda s: s.pop(_first(s, "input/uniform/step"))), CheckpointError, "uniform"),
    (lambda at: _scales(at, lambda s: s[_first(s, "/step")].fill_(0)), CheckpointError, "is no scale"),
    (lambda at: _scales(at, lambda s: s[_first(s, "/zero")].fill_(torch.nan)), CheckpointError, "no scale"),
    (lambda at: _scales(at, lambda s: s.update(other=torch.ones(1))), CheckpointError, "no name of a scale"),
    (
        lambda at: _scales(at, lambda s: s.update({_first(s, "input/uniform/step"): torch.ones(5, 3)})),
        CheckpointError,
        "do not fit",
    ),
    (
        lambda at: _scales(
            at,
            lambda s: s.update(
                {"x/input/uniform/step": torch.ones(1), "x/input/uniform/zero": torch.ones(1)}
            ),
        ),
        CheckpointError,
        "do not fit the model at 'x'",
    ),
    (lambda at: _scales(at, lambda s: s[_first(s, "/step")].mul_(2)), CheckpointError, "another one"),
    (lambda at: _yaml(at, weights_sha256="0" * 64), CheckpointError, "for other weights"),
    (lambda at: _yaml(at, scales="../scales.safetensors"), ConfigError, "the name of a file"),
    (lambda at: _yaml(at, bits="W99A4"), ConfigError, "W99A4"),
    (lambda at: _yaml(at, parts=["mask_decoder"]), CheckpointError, "do not fit"),
]


@pytest.mark.parametrize(("harm", "error", "message"), HARMS)
def test_bad_scales_are_named(
    harm: Callable[[Path], Any], error: type[VidsegError], message: str, few: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(few, tmp_path / "out"))
    harm(folder)
    with pytest.raises(error, match=message) as raised:
        vidseg.load_image(folder / "tracker.yaml")
    assert len(str(raised.value).splitlines()) <= 3


def test_records_tell_calibrations_of_the_same_weights_apart(few: Path) -> None:
    said = vidseg.load(few / "tracker.yaml", device="cpu").describe()["config"]["low_bits"]
    assert said["scales_sha256"] == sha256_of(few / "scales.safetensors")


def test_models_of_few_bits_are_not_exported(few: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the packages of the extra 'onnx' are not installed")
    from vidseg.export.write import export

    with pytest.raises(ConfigError, match="few bits"):
        export(TrackerOptions.of(few / "tracker.yaml"), tmp_path / "onnx")


def test_other_weights_and_other_types_are_refused(few: Path, made: Any) -> None:
    with pytest.raises(CheckpointError, match="for other weights"):
        vidseg.load_image(few / "tracker.yaml", allow_random_weights=True)
    with pytest.raises(ConfigError, match="float32"):
        vidseg.load_image(few / "tracker.yaml", dtype="bfloat16")
