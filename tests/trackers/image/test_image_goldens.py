"""Image models beside the goldens of the official code: the whole way from a picture to masks.

A family joins by its row in `vidseg.trackers.weights.published`, whose `official_config` is the name of the
golden (`golden_image_<official_config>.npz`), and by its row in `layouts`; nothing is added here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from support.image_goldens import (
    PARTS_ALONE,
    ImageGolden,
    assert_within,
    golden_picture,
    image_golden_models,
    load_image_golden,
    official_shapes,
    our_name,
)
from vidseg.errors import ConfigError
from vidseg.trackers.image.build import build_image_model, public_shapes
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.model import module_of
from vidseg.trackers.registry import read_config
from vidseg.trackers.weights import layout_of, recognise
from vidseg.validation import parse

KEYS = {name: facts for name, facts in official_shapes().items() if name not in PARTS_ALONE}
UNPUBLISHED = {
    f"edgesam_{variant}": ImageSettings(
        family=f"edge-sam-{variant}", backbone={"name": "fused-repvit", "variant": variant}
    )
    for variant in ("m2", "m3")
}
"""Official models without published weights -> their settings."""
IOU_TOLERANCE = 1e-4
WRONG_PIXELS = 1e-4
"""The share of pixels that may be on another side of the mask's edge."""


def settings_of(name: str) -> ImageSettings:
    config = {key: value for key, value in read_config(name)[1].items() if key not in ("kind", "options")}
    return parse(ImageSettings, config, where=name, error=ConfigError)


@pytest.fixture(scope="module", params=image_golden_models())
def pair(request: pytest.FixtureRequest) -> tuple[ImageGolden, Any]:
    """A golden, and the embedding that our model makes with the same weights; encoded once."""
    golden = load_image_golden(request.param)
    name = our_name(golden.model)
    assert name is not None, f"{golden.model} has no row among the published weights"
    segmenter = vidseg.load_image(name, weights=golden.state(), device="cpu")
    return golden, segmenter.embed(golden_picture())


def test_model_input_and_embedding(pair: tuple[ImageGolden, Any]) -> None:
    golden, embedding = pair
    image = embedding.model_input
    stats = np.stack([image.mean((1, 2)), image.std((1, 2))])
    np.testing.assert_allclose(stats, golden.arrays["input_stats"], atol=1e-5)
    side = image.shape[1]
    patch = image[:, side // 4 : side // 4 + 4, side // 2 : side // 2 + 4]
    np.testing.assert_allclose(patch, golden.arrays["input_slice"], atol=1e-5)
    features = embedding.features
    stats = np.array([features.mean(), features.std()])
    np.testing.assert_allclose(stats, golden.arrays["embedding_stats"], atol=5e-4)
    assert_within("embedding_sub", golden.arrays["embedding_sub"], features[::8, ::4, ::4])


def assert_answer(golden: ImageGolden, prompt: str, answer: Any) -> None:
    want = {
        key.removeprefix(f"{prompt}_"): value
        for key, value in golden.arrays.items()
        if key.startswith(f"{prompt}_")
    }
    if "n_sparse" in want:  # the official EfficientSAM does not tell
        assert answer.num_prompt_tokens == want["n_sparse"]
    low, logits = answer.low_res_logits, answer.logits()
    assert_within(f"{prompt}_low", want["low"], low[:, ::4, ::4])
    np.testing.assert_allclose([low.mean(), low.std()], want["low_stats"], atol=5e-4 * low.std())
    np.testing.assert_allclose(answer.predicted_ious, want["iou"], atol=IOU_TOLERANCE)
    assert_within(f"{prompt}_full_sub", want["full_sub"], logits[:, ::4, ::4])
    wrong = np.unpackbits(np.packbits(logits > 0, axis=-1) ^ want["bits"]).mean()
    assert wrong <= WRONG_PIXELS, f"{prompt}_bits: {wrong:.1e} of the pixels"


@pytest.mark.parametrize("prompt", ["point", "points", "box", "points_box"])
def test_prompts(pair: tuple[ImageGolden, Any], prompt: str) -> None:
    golden, embedding = pair
    assert_answer(golden, prompt, embedding.candidates(**golden.prompts[prompt]))


def test_mask_fed_back(pair: tuple[ImageGolden, Any]) -> None:
    golden, embedding = pair
    if "point_mask_low" not in golden.arrays:
        pytest.skip("the family takes no masks")
    before = embedding.candidates(**golden.prompts["point"])
    best = 1 + int(before.predicted_ious[1:].argmax())
    again = embedding.candidates(
        **golden.prompts["point"], mask_logits=before.low_res_logits[best : best + 1]
    )
    assert_answer(golden, "point_mask", again)


@pytest.mark.parametrize("official", KEYS)
def test_keys_and_parameters(official: str) -> None:
    name = our_name(official)
    num_params, shapes = KEYS[official]
    settings = UNPUBLISHED[official] if name is None else settings_of(name)
    assert public_shapes(settings, official) == shapes
    with torch.device("meta"):
        model, _ = build_image_model(settings, official)
    assert sum(parameter.numel() for parameter in module_of(model).parameters()) == num_params
    if name is None:
        return
    layout = recognise(shapes)
    assert layout is not None
    assert layout is layout_of(name)
    assert layout.num_params == num_params
