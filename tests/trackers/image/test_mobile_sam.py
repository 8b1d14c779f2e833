"""MobileSAM beside the package `mobilesam-mirror` with fresh weights, and TinySAM's rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

import vidseg
from support.image_goldens import assert_within
from support.official_image import declare_torchvision_operators, picture
from support.seeded import seeded_weights
from vidseg.errors import ConfigError
from vidseg.trackers.image.build import public_shapes
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.registry import read_config
from vidseg.validation import parse

PROMPTS: dict[str, dict[str, Any]] = {
    "point": {"points": [[120.0, 70.0]], "labels": [1]},
    "points": {"points": [[120.0, 70.0], [30.0, 160.0]], "labels": [1, 0]},
    "box": {"box": [40.0, 30.0, 210.0, 150.0]},
    "all": {"points": [[120.0, 70.0]], "labels": [1], "box": [40.0, 30.0, 210.0, 150.0]},
}
PICTURES = [picture(1, (180, 260)), picture(1, (200, 150))]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Fresh weights under the official names."""
    config = {key: value for key, value in read_config("mobile-sam")[1].items() if key != "kind"}
    settings = parse(ImageSettings, config, where="mobile-sam", error=ConfigError)
    return seeded_weights(public_shapes(settings, "mobile-sam"), seed=5)


@pytest.fixture(scope="module")
def official(state: Mapping[str, Tensor]) -> Any:
    """The official predictor, built as MobileSAM's README says."""
    declare_torchvision_operators()
    package = pytest.importorskip("mobile_sam", reason="needs the package mobilesam-mirror")
    model = package.sam_model_registry["vit_t"]()
    model.load_state_dict(state)
    model.eval()  # the biases of attention are looked up here
    return package.SamPredictor(model)


@pytest.fixture(scope="module")
def segmenter(state: Mapping[str, Tensor]) -> vidseg.ImageSegmenter:
    return vidseg.load_image("mobile-sam", weights=state, device="cpu")


@pytest.fixture(scope="module")
def embeddings(segmenter: vidseg.ImageSegmenter) -> list[vidseg.Embedding]:
    """What the segmenter makes of each picture by itself."""
    return [segmenter.embed(image) for image in PICTURES]


def asked(predictor: Any, prompt: Mapping[str, Any], **more: Any) -> tuple[npt.NDArray[Any], ...]:
    """Logits at the picture's size, predicted IoUs and low-res logits."""
    given = {name: np.array(value) for name, value in prompt.items()}
    answer: tuple[npt.NDArray[Any], ...] = predictor.predict(
        given.get("points"), given.get("labels"), given.get("box"), return_logits=True, **more
    )
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(PICTURES)))
def test_answers_are_those_of_the_package(
    embeddings: list[vidseg.Embedding], official: Any, number: int
) -> None:
    image, embedding = PICTURES[number], embeddings[number]
    official.set_image(image)
    assert_within("embedding", official.features[0].numpy(), embedding.features)
    for name, prompt in PROMPTS.items():
        fits = {key: np.minimum(v, image.shape[1] - 1) if key != "labels" else v for key, v in prompt.items()}
        answer = embedding.candidates(**fits)
        for multimask in (True, False):
            logits, ious, low = asked(official, fits, multimask_output=multimask)
            ours = slice(1, 4) if multimask else slice(0, 1)
            assert_within(name, low, answer.low_res_logits[ours])
            assert_within(name, logits, answer.logits()[ours])
            np.testing.assert_allclose(answer.predicted_ious[ours], ious, atol=1e-4)
    *_, low = asked(official, PROMPTS["point"])
    logits, *_ = asked(official, PROMPTS["point"], mask_input=low[:1])
    again = embedding.candidates(**PROMPTS["point"], mask_logits=low[:1])
    assert_within("mask fed back", logits, again.logits()[1:])


@pytest.mark.slow
def test_a_batch_of_pictures_equals_one_by_one(
    segmenter: vidseg.ImageSegmenter, embeddings: list[vidseg.Embedding]
) -> None:
    for alone, embedding in zip(embeddings, segmenter.embed_batch(PICTURES), strict=True):
        assert_within("batch", alone.features, embedding.features, share=1e-5)


def test_tiny_sam_never_answers_with_its_first_mask() -> None:
    names = ("mobile-sam", "tiny-sam")
    mobile, tiny = (vidseg.load_image(name, allow_random_weights=True).model for name in names)
    logits, ious = torch.randn(4, 8, 8), torch.tensor([0.9, 0.1, 0.5, 0.3])
    assert mobile.best_first(logits, ious, multimask=False) == [0]
    assert tiny.best_first(logits, ious, multimask=False) == [2]
    assert tiny.best_first(logits, ious, multimask=True) == [2, 3, 1]
    assert mobile.best_first(logits, ious, multimask=True) == [2, 3, 1]
