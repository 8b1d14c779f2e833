"""EfficientSAM's own rules for prompts, the way through its public layout, and its batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import vidseg
from support.official_image import picture
from vidseg.errors import CheckpointError, ConfigError, PromptError
from vidseg.trackers.image.build import build_image_model
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.model import module_of
from vidseg.trackers.registry import read_config
from vidseg.trackers.sam.efficient_sam import EfficientSamPromptEncoder
from vidseg.trackers.weights.renames import renames_of

SIDE = 128
POINT = {"points": [[60.0, 50.0]], "labels": [1]}


def settings(name: str = "efficient-sam-ti") -> ImageSettings:
    config = {key: value for key, value in read_config(name)[1].items() if key != "kind"}
    return ImageSettings.model_validate({**config, "image_size": SIDE})


def public_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model, _ = build_image_model(settings(), "test")
    return renames_of("efficient-sam").to_public(module_of(model).state_dict())


@pytest.fixture(scope="module")
def yaml_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.yaml"
    path.write_text(yaml.safe_dump({"kind": "image", **settings().model_dump()}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def embedding(yaml_path: Path) -> vidseg.Embedding:
    segmenter = vidseg.load_image(yaml_path, weights=public_state(), device="cpu")
    return segmenter.embed(picture(1, (96, 120)))


@pytest.mark.parametrize("family", ["efficient-sam", "mobile-sam"])
def test_the_way_through_the_public_layout_and_back_is_bitwise(family: str) -> None:
    name = {"efficient-sam": "efficient-sam-ti"}.get(family, family)
    model, _ = build_image_model(settings(name), "test")
    state = module_of(model).state_dict()
    renames = renames_of(family)
    again = renames.from_public(renames.to_public(state))
    assert list(again) == list(state)
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_misfits_are_told_by_official_names(yaml_path: Path) -> None:
    state = public_state()
    del state["mask_decoder.iou_prediction_head.fc.bias"]
    state["mask_decoder.fc.stranger"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"iou_prediction_head\.fc\.bias; unknown: mask_decoder\.fc"):
        vidseg.load_image(yaml_path, weights=state)


def test_every_prompt_makes_six_tokens(embedding: vidseg.Embedding) -> None:
    for prompt in (POINT, {"box": [10, 10, 60, 50]}, {**POINT, "box": [10, 10, 60, 50]}):
        assert embedding.candidates(**prompt).num_prompt_tokens == 6  # type: ignore[arg-type]


def test_a_point_off_the_object_has_its_place_alone() -> None:
    encoder = EfficientSamPromptEncoder(16)
    xy = torch.tensor([[[3.0, 5.0]]])
    off = encoder.points(xy, torch.tensor([[0]]), SIDE)
    torch.testing.assert_close(off[:, :1], encoder.pe_layer((xy + 0.5) / SIDE))
    on = encoder.points(xy, torch.tensor([[1]]), SIDE)
    torch.testing.assert_close(on[:, 0] - off[:, 0], encoder.point_embeddings.weight)
    assert torch.equal(on[:, 1:], off[:, 1:])


def test_too_many_points_and_masks_are_refused(embedding: vidseg.Embedding) -> None:
    seven = {"points": [[10.0 + n, 20.0] for n in range(7)], "labels": [1] * 7}
    with pytest.raises(PromptError, match="7 points"):
        embedding.candidates(**seven)  # type: ignore[arg-type]
    low = embedding.candidates(**POINT).low_res_logits  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="takes no mask"):
        embedding.candidates(**POINT, mask_logits=low[:1])  # type: ignore[arg-type]


def test_prompts_in_a_batch_equal_one_by_one(embedding: vidseg.Embedding) -> None:
    prompts = [POINT, {"points": [[20.0, 30.0]], "labels": [0]}, {"box": [10.0, 10.0, 60.0, 50.0]}]
    for prompt, answer in zip(prompts, embedding.candidates_batch(prompts), strict=True):
        alone = embedding.candidates(**prompt)  # type: ignore[arg-type]
        np.testing.assert_allclose(answer.low_res_logits, alone.low_res_logits, atol=1e-4)
        np.testing.assert_allclose(answer.predicted_ious, alone.predicted_ious, atol=1e-5)


def test_a_pyramid_is_refused() -> None:
    config = settings().model_dump() | {"backbone": {"name": "repvit"}}
    with pytest.raises(ConfigError, match="makes 4 maps; the model takes one"):
        build_image_model(ImageSettings.model_validate(config), "test")
