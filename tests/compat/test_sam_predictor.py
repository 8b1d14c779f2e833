"""The official `segment_anything` predictor beside ours: the same calls, the same answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from support.image_goldens import assert_within
from support.official_image import picture
from support.official_sam import official_sam_predictor, small_sam
from vidseg.compat import CallError, SamPredictor, sam_model_registry

PICTURE = picture(4, (130, 99))
POINTS, LABELS = np.array([[50.0, 60.0], [10.0, 12.0]]), np.array([1, 0])
BOX = np.array([20.0, 15.0, 80.0, 100.0])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[SamPredictor, Any]:
    path, state = small_sam(tmp_path_factory.mktemp("small"), seed=3)
    ours = SamPredictor(vidseg.load_image(path, weights=state, device="cpu"))
    official = official_sam_predictor(state)
    for predictor in (ours, official):
        predictor.set_image(PICTURE)
    return ours, official


def assert_same(ours: tuple[Any, ...], official: tuple[Any, ...]) -> None:
    for name, got, want in zip(("masks", "IoUs", "low-res"), ours, official, strict=True):
        got, want = np.asarray(got), np.asarray(want)
        assert got.dtype == want.dtype
        if want.dtype == bool:
            assert (got != want).mean() <= 1e-4
        elif name == "IoUs":
            np.testing.assert_allclose(got, want, atol=1e-4)
        else:
            assert_within(name, want, got)


@pytest.mark.parametrize("multimask_output", [True, False])
@pytest.mark.parametrize("return_logits", [True, False])
@pytest.mark.parametrize(
    "prompt",
    [
        {"point_coords": POINTS, "point_labels": LABELS},
        {"box": BOX},
        {"box": BOX, "point_coords": POINTS, "point_labels": LABELS},
    ],
    ids=["points", "box", "both"],
)
def test_predict(
    pair: tuple[SamPredictor, Any], prompt: dict[str, Any], return_logits: bool, multimask_output: bool
) -> None:
    ours, official = pair
    options = {"return_logits": return_logits, "multimask_output": multimask_output}
    assert_same(ours.predict(**prompt, **options), official.predict(**prompt, **options))


def test_mask_fed_back(pair: tuple[SamPredictor, Any]) -> None:
    ours, official = pair
    _, ious, low_res = official.predict(box=BOX)
    mask = low_res[ious.argmax()][None]
    asked = {"point_coords": POINTS, "point_labels": LABELS, "mask_input": mask}
    assert_same(ours.predict(**asked), official.predict(**asked))


def test_boxes_in_one_batch(pair: tuple[SamPredictor, Any]) -> None:
    ours, official = pair
    boxes = torch.tensor([[20, 15, 80, 100], [3, 4, 50, 60], [40, 40, 98, 129]])
    answers = []
    for predictor in (ours, official):
        moved = predictor.transform.apply_boxes_torch(boxes, PICTURE.shape[:2])
        answers.append(predictor.predict_torch(None, None, boxes=moved, multimask_output=False))
    assert_same(*answers)
    assert answers[0][0].shape == (3, 1, *PICTURE.shape[:2])


def test_embedding_and_picture_from_tensors(pair: tuple[SamPredictor, Any]) -> None:
    ours, official = pair
    want = official.get_image_embedding().numpy()
    assert_within("embedding", want, ours.get_image_embedding().numpy())
    again = SamPredictor(ours.model)
    resized = torch.as_tensor(again.transform.apply_image(PICTURE)).permute(2, 0, 1)[None]
    again.set_torch_image(resized, PICTURE.shape[:2])
    assert_within("embedding", want, again.get_image_embedding().numpy())
    again.set_image(PICTURE[..., ::-1], image_format="BGR")
    assert_within("embedding", want, again.get_image_embedding().numpy())


def test_transform(pair: tuple[SamPredictor, Any]) -> None:
    ours, official = (predictor.transform for predictor in pair)
    size = PICTURE.shape[:2]
    assert np.array_equal(ours.apply_image(PICTURE), official.apply_image(PICTURE))
    assert np.array_equal(ours.apply_coords(POINTS, size), official.apply_coords(POINTS, size))
    assert np.array_equal(ours.apply_boxes(BOX, size), official.apply_boxes(BOX, size))
    points = torch.tensor([[[5, 6], [7, 8]]])
    assert torch.equal(ours.apply_coords_torch(points, size), official.apply_coords_torch(points, size))


def test_wrong_calls_say_what_is_wrong(pair: tuple[SamPredictor, Any]) -> None:
    ours, _ = pair
    with pytest.raises(CallError, match="given together"):
        ours.predict(point_coords=POINTS)
    with pytest.raises(CallError, match="an empty prompt"):
        ours.predict()
    with pytest.raises(CallError, match="image_format 'HSV'"):
        ours.set_image(PICTURE, "HSV")
    with pytest.raises(CallError, match="long side of 224"):
        ours.set_torch_image(torch.zeros(1, 3, 20, 20), (20, 20))
    fresh = SamPredictor(ours.model)
    assert not fresh.is_image_set
    with pytest.raises(RuntimeError, match="no picture is set"):
        fresh.predict(box=BOX)
    with pytest.raises(CallError, match="'vidseg-nano' is no model of SAM's kind"):
        SamPredictor(vidseg.load_image("vidseg-nano", device="cpu"))


def test_registry_names_models() -> None:
    assert {"default", "vit_h", "vit_l", "vit_b", "vit_t"} <= set(sam_model_registry)
