"""RepViT-SAM, EdgeSAM, EfficientViT-SAM, NanoSAM and PicoSAM2 on small pictures: what all of them promise."""

from __future__ import annotations

import pytest
import torch

from support.image_encoders import randomised, relative_error
from vidseg.trackers.check_model import check_image_model
from vidseg.trackers.image.build import build_image_model
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.model import ImageModel, module_of
from vidseg.trackers.registry import read_config
from vidseg.trackers.weights.renames import renames_of

NAMES = ("repvit-sam", "edge-sam", "efficientvit-sam-l0", "nano-sam", "pico-sam2")


def small(name: str) -> tuple[ImageModel, ImageSettings]:
    """A model for pictures of 96 pixels, with random weights and statistics."""
    config = {key: value for key, value in read_config(name)[1].items() if key != "kind"}
    settings = ImageSettings.model_validate({**config, "image_size": 96})
    torch.manual_seed(0)
    model, _ = build_image_model(settings, name)
    randomised(module_of(model))
    return model, settings


@pytest.mark.parametrize("name", NAMES)
def test_batches_equal_one_by_one_also_in_the_fused_form(name: str) -> None:
    model, _ = small(name)
    model.fuse()
    check_image_model(model)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_fused_answers_equal_those_of_the_trained_form(name: str) -> None:
    model, _ = small(name)
    images = torch.randn(1, 3, 96, 96)
    points, labels = torch.tensor([[[40.0, 50.0]]]), torch.ones(1, 1, dtype=torch.int32)

    def answer() -> torch.Tensor:
        features = model.encode_batch(images)
        conditioned = model.without_memory(features)
        return model.candidates(features, conditioned, points_bp2=points, labels_bp=labels).logits_bkhw

    trained = answer()
    model.fuse()
    assert relative_error(answer(), trained) <= 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_round_trip_through_the_official_names_changes_nothing(name: str) -> None:
    model, settings = small(name)
    ours = module_of(model).state_dict()
    renames = renames_of(settings.family)
    public = renames.to_public(ours)
    assert not any(key.startswith(("image_encoder.trunk.", "network.")) for key in public)
    again = renames.from_public(public)
    assert list(again) == list(ours)
    assert all(torch.equal(again[key], value) for key, value in ours.items())
