"""NanoSAM: an encoder of its own, with the prompt encoder and the mask decoder of MobileSAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import vidseg
from support.image_goldens import assert_within, golden_picture, load_image_golden, official_shapes
from support.seeded import seeded_weights
from vidseg.errors import CheckpointError
from vidseg.trackers.image.answer import Answer
from vidseg.trackers.image.build import public_shapes
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.load_weights import HEADS
from vidseg.trackers.registry import read_config
from vidseg.trackers.weights import layout_of, recognise
from vidseg.trackers.weights.cache import record_digest, sha256_of

HEADS_PARAMS = 4_064_560


@pytest.fixture
def no_mobile_sam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without MobileSAM's weights."""
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path))


def settings_of(name: str) -> ImageSettings:
    config = {key: value for key, value in read_config(name)[1].items() if key not in ("kind", "options")}
    return ImageSettings.model_validate(config)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return seeded_weights(public_shapes(settings_of("nano-sam"), "nano-sam"))


def segmenter(state: dict[str, Tensor]) -> ImageSegmenter:
    return vidseg.load_image("nano-sam", weights=state, device="cpu")


def answered(state: dict[str, Tensor]) -> Answer:
    """What a model with these weights answers to a click on a picture."""
    picture = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    return segmenter(state).embed(picture).candidates(points=[[45, 30]])


@pytest.fixture(scope="module")
def answer(weights: dict[str, Tensor]) -> Answer:
    return answered(weights)


@pytest.mark.shared
@pytest.mark.usefixtures("shared", "no_mobile_sam")
def test_embedding_against_the_official_encoder_whose_file_has_no_heads() -> None:
    golden = load_image_golden("nanosam_resnet18")
    embedding = segmenter(golden.state()).embed(golden_picture())
    image, features = embedding.model_input, embedding.features
    stats = np.stack([image.mean((1, 2)), image.std((1, 2))])
    np.testing.assert_allclose(stats, golden.arrays["input_stats"], atol=1e-5)
    stats = np.array([features.mean(), features.std()])
    np.testing.assert_allclose(stats, golden.arrays["embedding_stats"], atol=5e-4 * features.std())
    assert_within("embedding_sub", golden.arrays["embedding_sub"], features[::8, ::4, ::4])
    with pytest.raises(CheckpointError, match=r"those of 'mobile-sam'.*not on this machine"):
        embedding.candidates(points=[[190, 120]])


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    ("name", "official"),
    [
        ("nano-sam", "nanosam_resnet18"),
        ("nano-sam-34", "nanosam_resnet34"),
        ("nano-sam-50", "nanosam_resnet50"),
    ],
)
def test_keys_and_parameters(name: str, official: str) -> None:
    num_params, shapes = official_shapes()[official]
    ours = public_shapes(settings_of(name), name)
    assert {key: shape for key, shape in ours.items() if not key.startswith(HEADS)} == shapes
    layout = recognise(shapes)
    assert layout is not None
    assert layout is layout_of(name)
    assert layout.num_params == num_params + HEADS_PARAMS


def test_heads_come_with_the_encoder_or_in_a_whole_mobile_sam(
    weights: dict[str, Tensor], answer: Answer
) -> None:
    whole = {**weights, "image_encoder.neck.0.weight": torch.zeros(256, 320, 1, 1)}
    np.testing.assert_array_equal(answered(whole).low_res_logits, answer.low_res_logits)


def test_heads_are_taken_from_mobile_sams_weights_on_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: dict[str, Tensor], answer: Answer
) -> None:
    monkeypatch.setenv("VIDSEG_CACHE", str(tmp_path))
    heads = {key: value for key, value in weights.items() if key.startswith(HEADS)}
    file = tmp_path / "weights" / "mobile_sam.pt"
    file.parent.mkdir()
    torch.save({**heads, "image_encoder.neck.0.weight": torch.zeros(256, 320, 1, 1)}, file)
    record_digest(file, sha256_of(file))
    encoder = {key: value for key, value in weights.items() if not key.startswith(HEADS)}
    np.testing.assert_array_equal(answered(encoder).low_res_logits, answer.low_res_logits)


def test_the_best_of_all_four_masks_is_the_answer(answer: Answer) -> None:
    order = np.argsort(-answer.predicted_ious, kind="stable").tolist()
    assert answer.best_first(multimask=True) == order
    assert answer.best_first(multimask=False) == order[:1]
    assert len(order) == 4
