"""EdgeSAM: the sizes that were not published, and the choice by stability."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support.image_goldens import official_shapes
from vidseg.trackers.image.build import build_image_model, public_shapes
from vidseg.trackers.image_settings import ImageSettings
from vidseg.trackers.model import module_of
from vidseg.trackers.registry import read_config


def settings(variant: str = "m1", family: str = "edge-sam") -> ImageSettings:
    config = {key: value for key, value in read_config("edge-sam")[1].items() if key != "kind"}
    backbone = {"name": "fused-repvit", "variant": variant}
    return ImageSettings.model_validate({**config, "family": family, "backbone": backbone})


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("variant", ["m2", "m3"])
def test_larger_sizes_have_the_official_keys(variant: str) -> None:
    num_params, shapes = official_shapes()[f"edgesam_{variant}"]
    asked = settings(variant, f"edge-sam-{variant}")
    assert public_shapes(asked, "test") == shapes
    with torch.device("meta"):
        model, _ = build_image_model(asked, "test")
    assert sum(parameter.numel() for parameter in module_of(model).parameters()) == num_params


def test_the_best_mask_is_the_most_stable_on_the_low_res_grid() -> None:
    model, _ = build_image_model(settings(), "test")
    # The flatter the edge of a mask, the more of its pixels have logits between -1 and 1.
    ramps = [np.clip(np.linspace(-1, 1, 64) * 100 / flatness, -10, 10) for flatness in (1, 2, 20, 6)]
    logits_khw = torch.from_numpy(np.stack([np.tile(ramp, (64, 1)) for ramp in ramps])).float()
    predicted_ious_k = torch.tensor([0.9, 0.1, 0.8, 0.5])
    assert model.best_first(logits_khw, predicted_ious_k, multimask=True) == [1, 3, 2]
    assert model.best_first(logits_khw, predicted_ious_k, multimask=False) == [0]
