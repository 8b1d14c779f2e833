"""EfficientViT-SAM beside its authors' code (the package `efficientsam`), with the same random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vidseg
from support.official_image import declare_torchvision_operators, picture
from support.seeded import seeded_weights

NAME = "efficientvit-sam-l0"
PROMPTS: list[dict[str, Any]] = [
    {"points": [[100, 70]], "labels": [1]},
    {"points": [[100, 70], [20, 20]], "labels": [1, 0]},
    {"box": [40, 30, 170, 140]},
    {"box": [40, 30, 170, 140], "points": [[100, 70]], "labels": [1]},
]


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """The official predictor and our embedding of one picture, whose sizes are rounded when it is resized."""
    declare_torchvision_operators()
    pytest.importorskip("efficientsam", reason="needs the package efficientsam")
    from efficientsam.models.efficientvit.sam import EfficientViTSamPredictor
    from efficientsam.sam_model_zoo import create_efficientvit_sam_model

    model = create_efficientvit_sam_model(NAME, pretrained=False).eval()
    state = seeded_weights(model)
    model.load_state_dict(state)
    image = picture(3, (167, 251))
    predictor = EfficientViTSamPredictor(model)
    predictor.set_image(image)
    return predictor, vidseg.load_image(NAME, weights=state, device="cpu").embed(image)


def test_embedding(pair: tuple[Any, Any]) -> None:
    predictor, embedding = pair
    want = predictor.features[0].numpy()
    assert np.abs(embedding.features - want).max() <= 1e-4 * want.std()


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: "+".join(prompt))
def test_prompts(pair: tuple[Any, Any], prompt: dict[str, Any], multimask: bool) -> None:
    predictor, embedding = pair
    given = {key: np.array(value) for key, value in prompt.items()}
    masks, ious, low_res_logits = predictor.predict(
        given.get("points"),
        given.get("labels"),
        given.get("box"),
        multimask_output=multimask,
        return_logits=True,
    )
    answer = embedding.candidates(**prompt)
    rows = slice(1, 4) if multimask else slice(0, 1)
    for got, want in (
        (answer.low_res_logits[rows], low_res_logits),
        (answer.logits()[rows], masks),
        (answer.predicted_ious[rows], ious),
    ):
        assert np.abs(got - want).max() <= 2e-4 * max(float(want.std()), 0.1)
    order = answer.best_first(multimask=multimask)
    assert order == (rows.start + np.argsort(-ious, kind="stable")).tolist()


def test_a_mask_fed_back(pair: tuple[Any, Any]) -> None:
    predictor, embedding = pair
    point, labels = np.array(PROMPTS[0]["points"]), np.array(PROMPTS[0]["labels"])
    *_, first = predictor.predict(point, labels)
    *_, want = predictor.predict(point, labels, mask_input=first[:1])
    before = embedding.candidates(**PROMPTS[0])
    got = embedding.candidates(**PROMPTS[0], mask_logits=before.low_res_logits[1:2])
    assert np.abs(got.low_res_logits[1:] - want).max() <= 5e-4 * want.std()
