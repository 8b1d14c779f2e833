"""Image segmenters beside the installed official `SAM2ImagePredictor`, on seeded weights."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import vidseg
from support.official_image import SMALL_SIZE, official_image_predictor, picture, small_model
from support.parity import parity_weights
from vidseg.trackers.build import expected_shapes
from vidseg.trackers.registry import read_config
from vidseg.trackers.settings import EngineSettings

pytest.importorskip("sam2")

MODELS = ["sam2.1_hiera_t", "sam2_hiera_t"]
TOLERANCE = 5e-4
"""How far logits may be apart, as a share of their deviation: the goldens' own. Measured: 1e-5."""
IOU_TOLERANCE = 1e-4
BOX = [30.0, 20.0, 120.0, 90.0]
PROMPTS: dict[str, dict[str, Any]] = {
    "point": {"points": [[75.0, 60.0]], "labels": [1]},
    "points": {"points": [[75.0, 60.0], [10.0, 12.5], [140.0, 33.0]], "labels": [1, 0, 1]},
    "box": {"box": BOX},
    "points and box": {"points": [[75.0, 60.0]], "labels": [1], "box": BOX},
}


PICTURE = picture(1, (117, 173))


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Our segmenter and the official predictor, with the same weights."""
    path, state = small_model(request.param, tmp_path_factory.mktemp("small"))
    ours = vidseg.load_image(path, weights=state, device="cpu")
    return ours, official_image_predictor(request.param, state, SMALL_SIZE)


@pytest.fixture(scope="module")
def pictured(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """Our embedding of `PICTURE`, and the official predictor that was given it; of the same weights."""
    ours, official = pair
    official = copy(official)
    official.set_image(PICTURE)
    return ours.embed(PICTURE), official


def official_arguments(prompt: dict[str, Any]) -> dict[str, Any]:
    names = {"points": "point_coords", "labels": "point_labels", "box": "box", "mask_logits": "mask_input"}
    return {names[key]: np.array(value) for key, value in prompt.items()}


def assert_same(ours: Any, official: tuple[npt.NDArray[Any], ...], chosen: list[int]) -> None:
    """Logits at the picture's size, predicted IoUs, and low-res logits of the candidates `chosen`."""
    logits, ious, low_res = official
    for name, got, want in (
        ("logits", ours.logits()[chosen], logits),
        ("low-res", ours.low_res_logits[chosen].clip(-32, 32), low_res),
    ):
        assert got.shape == want.shape, name
        assert np.abs(got - want).max() <= TOLERANCE * want.std(), name
    assert np.abs(ours.predicted_ious[chosen] - ious).max() <= IOU_TOLERANCE


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_candidates_against_sam2(pictured: tuple[Any, Any], prompt: dict[str, Any]) -> None:
    embedding, official = pictured
    answer = embedding.candidates(**prompt)
    asked = official_arguments(prompt)
    assert_same(answer, official.predict(**asked, return_logits=True), [1, 2, 3])
    single = official.predict(**asked, multimask_output=False, return_logits=True)
    assert_same(answer, single, answer.best_first(multimask=False))


@pytest.mark.parametrize("prompt", [{}, *PROMPTS.values()], ids=["alone", *PROMPTS])
def test_mask_fed_back_against_sam2(pictured: tuple[Any, Any], prompt: dict[str, Any]) -> None:
    embedding, official = pictured
    before = embedding.candidates(**PROMPTS["point"])
    best = before.best_first()[0]
    _, _, low_res = official.predict(**official_arguments(PROMPTS["point"]))
    asked = official_arguments(prompt) | {"mask_input": low_res[best - 1 : best]}
    again = embedding.candidates(**prompt, mask_logits=before.low_res_logits[best : best + 1])
    assert_same(again, official.predict(**asked, return_logits=True), [1, 2, 3])


def test_tokens_against_sam2(pictured: tuple[Any, Any]) -> None:
    embedding, official = pictured
    counts: list[int] = []
    handle = official.model.sam_prompt_encoder.register_forward_hook(
        lambda _module, _args, outputs: counts.append(outputs[0].shape[1])
    )
    logits = embedding.candidates(**PROMPTS["point"]).low_res_logits[:1]
    prompts = [{"mask_logits": logits}, *PROMPTS.values()]
    for prompt in prompts:
        official.predict(**official_arguments(prompt))
    handle.remove()
    assert [embedding.candidates(**prompt).num_prompt_tokens for prompt in prompts] == counts


def test_batch_of_pictures_against_sam2(pair: tuple[Any, Any]) -> None:
    ours, official = pair
    pictures = [PICTURE, picture(2, (90, 200)), picture(3, (201, 160))]
    official.set_image_batch(pictures)
    boxes = [np.array(BOX), np.array([5.0, 5.0, 60.0, 80.0]), np.array([50.0, 60.0, 150.0, 190.0])]
    for embedding, box, *official_answer in zip(
        ours.embed_batch(pictures),
        boxes,
        *official.predict_batch(box_batch=boxes, return_logits=True),
        strict=True,
    ):
        assert_same(embedding.candidates(box=box), tuple(official_answer), [1, 2, 3])


def test_several_prompts_against_sam2_in_one_decoder_run(
    pair: tuple[Any, Any], pictured: tuple[Any, Any]
) -> None:
    (ours, _), (embedding, official) = pair, pictured
    boxes = np.array([BOX, [5, 5, 60, 80], [100, 30, 170, 110]], np.float32)
    runs: list[int] = []
    decoder = ours.model.sam_mask_decoder
    handle = decoder.register_forward_hook(lambda *_: runs.append(1))
    answers = embedding.candidates_batch([{"box": box} for box in boxes])
    handle.remove()
    assert len(runs) == 1
    for answer, *row in zip(answers, *official.predict(box=boxes, return_logits=True), strict=True):
        assert_same(answer, tuple(row), [1, 2, 3])


def test_model_input_against_sam2(pictured: tuple[Any, Any]) -> None:
    embedding, official = pictured
    want = official._transforms(PICTURE).numpy()
    assert np.abs(embedding.model_input - want).max() < 1e-5


@pytest.mark.slow
def test_full_size_against_sam2() -> None:
    settings = read_config("sam2.1-hiera-tiny")[1]
    del settings["kind"]
    state = parity_weights(expected_shapes(EngineSettings.model_validate(settings), "test"), seed=4)
    official = official_image_predictor("sam2.1_hiera_t", state)
    large = picture(5, (216, 300))
    with torch.no_grad():
        official.set_image(large)
    answer = (
        vidseg.load_image("sam2.1-hiera-tiny", weights=state, device="cpu").embed(large).candidates(box=BOX)
    )
    assert_same(answer, official.predict(box=np.array(BOX), return_logits=True), [1, 2, 3])
