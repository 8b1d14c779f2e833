"""The official image notebook's calls, in our own words, beside the official predictor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vidseg
from support.official_image import SMALL_SIZE, official_image_predictor, picture, small_model
from support.parity import small_tracker
from vidseg.compat import CallError, SAM2ImagePredictor, build_sam2
from vidseg.errors import InputError

PICTURE = picture(1, (117, 173))
BOX = np.array([30, 20, 120, 90])
BOXES = np.array([[30, 20, 120, 90], [5, 5, 60, 80], [100, 30, 170, 110]])
TOLERANCE = 5e-4
"""How far logits may be apart, as a share of their deviation; tests/trackers/image allows as much."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    pytest.importorskip("sam2")
    folder = tmp_path_factory.mktemp("small")
    path, state = small_model("sam2.1_hiera_t", folder)
    torch.save({"model": state}, folder / "small.pt")
    model = build_sam2(str(path), str(folder / "small.pt"), device=torch.device("cpu"))
    return SAM2ImagePredictor(model), official_image_predictor("sam2.1_hiera_t", state, SMALL_SIZE)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return small_tracker(tmp_path_factory.mktemp("small"))


def assert_same(got: Any, want: Any) -> None:
    """Masks or logits, IoUs and low-res logits, with shapes and types."""
    for ours, official in zip(got, want, strict=True):
        assert ours.shape == official.shape
        assert ours.dtype == official.dtype
        if set(np.unique(official)) <= {0, 1}:
            assert (ours != official).mean() < 1e-3
        else:
            assert np.abs(ours - official).max() <= TOLERANCE * max(official.std(), 1.0)


def one_picture(p: Any) -> Any:
    p.set_image(PICTURE)
    point = {"point_coords": np.array([[75, 60]]), "point_labels": np.array([1])}
    masks, scores, logits = p.predict(**point, multimask_output=True)
    yield masks, scores, logits
    mask_input = logits[np.argmax(scores), :, :]
    two = {"point_coords": np.array([[75, 60], [110, 33]]), "point_labels": np.array([1, 0])}
    yield p.predict(**two, mask_input=mask_input[None, :, :], multimask_output=False)
    yield p.predict(point_coords=None, point_labels=None, box=BOX[None, :], multimask_output=False)
    yield p.predict(**point, box=BOX, multimask_output=False, return_logits=True)
    yield p.predict(box=BOX / [173, 117, 173, 117], normalize_coords=False, return_logits=True)
    yield p.predict(return_logits=True)  # asked for nothing, the decoder still answers


def several_prompts(p: Any) -> Any:
    p.set_image(Image.fromarray(PICTURE))
    yield p.predict(point_coords=None, point_labels=None, box=BOXES, multimask_output=False)
    many = np.array([[[75, 60]], [[20, 30]]]), np.array([[1], [1]])
    yield p.predict(*many, multimask_output=True, return_logits=True)


def several_pictures(p: Any) -> Any:
    p.set_image_batch([PICTURE, picture(2, (90, 200))])
    for answers in (
        p.predict_batch(None, None, box_batch=[BOXES, BOXES[:2]], multimask_output=False),
        p.predict_batch(
            [np.array([[[75, 60]]]), np.array([[9, 9], [40, 50]])], [np.array([[1]]), np.array([1, 1])]
        ),
    ):
        yield from zip(*answers, strict=True)


@pytest.mark.parametrize("script", [one_picture, several_prompts, several_pictures])
def test_script_gives_the_official_answers(pair: tuple[Any, Any], script: Any) -> None:
    ours, official = pair
    for got, want in zip(script(ours), script(official), strict=True):
        assert_same(got, want)


def test_embedding_is_the_official_one(pair: tuple[Any, Any]) -> None:
    ours, official = pair
    for predictor in pair:
        predictor.set_image(PICTURE)
    assert_same([ours.get_image_embedding().numpy()], [official.get_image_embedding().numpy()])
    for got, want in zip(ours._features["high_res_feats"], official._features["high_res_feats"], strict=True):
        assert_same([got.numpy()], [want.numpy()])


def test_small_holes_are_filled_and_specks_removed(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = SAM2ImagePredictor(small)
    predictor.set_image(PICTURE)
    logits = torch.full((1, 16, 16), -5.0)
    logits[0, 2:10, 2:10] = 5.0
    logits[0, 5, 5] = -5.0  # a hole of 1
    logits[0, 14, 14] = 5.0  # a speck of 1
    assert torch.equal(predictor._tidied(logits), logits)
    predictor.max_hole_area = 1
    assert predictor._tidied(logits)[0, 5, 5] == 10
    predictor.max_sprinkle_area = 1
    assert predictor._tidied(logits)[0, 14, 14] == -10
    assert (predictor._tidied(logits) > 0).sum() == 64


def test_threshold_acts_and_other_attributes_are_refused(small: Any) -> None:
    predictor = SAM2ImagePredictor(small)
    predictor.set_image(PICTURE)
    loose = predictor.predict(box=BOX)[0].sum()
    predictor.mask_threshold = 2.0
    assert predictor.predict(box=BOX)[0].sum() < loose
    with pytest.raises(AttributeError):
        predictor.multimask = True  # type: ignore[attr-defined]


def test_every_kind_of_model_is_taken(small: Any) -> None:
    for model in (small, vidseg.compat.SAM2VideoPredictor(small), vidseg.load_image(device="cpu")):
        predictor = SAM2ImagePredictor(model)
        predictor.set_image(PICTURE)
        assert predictor.predict(box=BOX, multimask_output=False)[0].shape == (1, 117, 173)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.predict(point_coords=[[1, 2]]), "given together"),
        (lambda p: p.predict([[1, 2]], [1, 0]), "labels of shape"),
        (
            lambda p: p.predict(np.ones((2, 1, 2)), np.ones((2, 1)), BOXES),
            "2 rows of points_xy for 3 prompts",
        ),
        (lambda p: p.predict(box=np.zeros((0, 4))), "box of no prompt at all"),
        (lambda p: p.predict_batch(), "set_image_batch"),
        (lambda p: (p.reset_predictor(), p.predict(box=BOX)), "no picture is set"),
    ],
)
def test_wrong_calls_are_named(small: Any, call: Any, message: str) -> None:
    predictor = SAM2ImagePredictor(small)
    predictor.set_image(PICTURE)
    with pytest.raises(CallError, match=message):
        call(predictor)


def test_wrong_pictures_are_named(small: Any) -> None:
    with pytest.raises(InputError, match="float64"):
        SAM2ImagePredictor(small).set_image(np.zeros((5, 5, 3)))  # type: ignore[arg-type]
