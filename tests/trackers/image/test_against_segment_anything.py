"""Image segmenters beside the installed official `segment-anything`, with fresh random weights."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidseg
from support.image_goldens import assert_within
from support.official_image import picture
from support.official_sam import SIZE, official_sam_predictor, small_sam
from vidseg.testing import check_image_model
from vidseg.trackers.weights.renames import renames_of

PICTURE = picture(1, (117, 173))
BOX = [30.0, 20.0, 120.0, 90.0]
PROMPTS: dict[str, dict[str, Any]] = {
    "point": {"points": [[75.0, 60.0]], "labels": [1]},
    "points": {"points": [[75.0, 60.0], [10.0, 12.5], [140.0, 33.0]], "labels": [1, 0, 1]},
    "box": {"box": BOX},
    "points and box": {"points": [[75.0, 60.0]], "labels": [1], "box": BOX},
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Our segmenter and the official predictor, with the same weights and picture."""
    seed = secrets.randbelow(1 << 30)
    print(f"weights of seed {seed}")
    path, state = small_sam(tmp_path_factory.mktemp("small"), seed)
    official = official_sam_predictor(state)
    official.set_image(PICTURE)
    return vidseg.load_image(path, weights=state, device="cpu"), official


def official_arguments(prompt: dict[str, Any]) -> dict[str, Any]:
    names = {"points": "point_coords", "labels": "point_labels", "box": "box"}
    return {names[key]: np.array(value) for key, value in prompt.items()}


def test_input_and_embedding(pair: tuple[Any, Any]) -> None:
    ours, official = pair
    embedding = ours.embed(PICTURE)
    resized = torch.as_tensor(official.transform.apply_image(PICTURE)).permute(2, 0, 1)[None]
    np.testing.assert_allclose(embedding.model_input, official.model.preprocess(resized)[0], atol=1e-5)
    assert_within("features", official.features[0].numpy(), embedding.features)


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("fed_back", [False, True])
def test_candidates(pair: tuple[Any, Any], prompt: dict[str, Any], fed_back: bool) -> None:
    ours, official = pair
    embedding = ours.embed(PICTURE)
    asked, mask = official_arguments(prompt), None
    if fed_back:
        mask = embedding.candidates(box=[5, 5, 60, 80]).low_res_logits[2:3]
        asked["mask_input"] = mask
    answer = embedding.candidates(**prompt, mask_logits=mask)
    for multimask, chosen in ((True, [1, 2, 3]), (False, [0])):
        logits, ious, low = official.predict(**asked, multimask_output=multimask, return_logits=True)
        assert_within("logits", logits, answer.logits()[chosen])
        assert_within("low-res", low, answer.low_res_logits[chosen])
        np.testing.assert_allclose(answer.predicted_ious[chosen], ious, atol=1e-4)


def test_batches_are_what_one_by_one_gives(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    pictures = [PICTURE, picture(2, (90, 60)), picture(3, (201, 160))]
    prompts = [*PROMPTS.values(), {"box": [3, 3, 30, 40]}, {"points": [[9, 8], [30, 31]], "labels": [1, 1]}]
    for image, embedding in zip(pictures, ours.embed_batch(pictures), strict=True):
        alone = ours.embed(image)
        assert_within("features", alone.features, embedding.features)
        kept = [p for p in prompts if np.max(p.get("box", p.get("points"))) < min(image.shape[:2])]
        for prompt, answer in zip(kept, embedding.candidates_batch(kept), strict=True):
            want = alone.candidates(**prompt)
            assert_within("low-res", want.low_res_logits, answer.low_res_logits)
            assert answer.num_prompt_tokens == want.num_prompt_tokens


def test_bfloat16(pair: tuple[Any, Any], tmp_path: Path) -> None:
    ours, _ = pair
    path, _ = small_sam(tmp_path, seed=0)
    state = renames_of("sam").to_public(ours.model.state_dict())
    half = vidseg.load_image(path, weights=state, device="cpu", dtype="bfloat16").embed(PICTURE)
    want = ours.embed(PICTURE)
    assert np.square(half.features - want.features).mean() ** 0.5 < 0.03 * want.features.std()
    apart = half.candidates(box=BOX).low_res_logits - want.candidates(box=BOX).low_res_logits
    assert np.square(apart).mean() ** 0.5 < 0.05 * want.candidates(box=BOX).low_res_logits.std()


def test_other_sizes_than_the_one_learned_on(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    trunk = ours.model.image_encoder.trunk
    with torch.inference_mode():
        (features,) = trunk(torch.randn(1, 3, SIZE + 32, SIZE - 64))
    assert features.shape == (1, 48, SIZE // 16 + 2, SIZE // 16 - 4)
    assert features.isfinite().all()


def test_contract(pair: tuple[Any, Any]) -> None:
    check_image_model(pair[0].model)
