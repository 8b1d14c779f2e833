"""Parity of image encoders with the golden files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from support.goldens import Golden, assert_golden, model_inputs, seeded_state
from vidseg.trackers.image_encoder import ImageEncoder

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def randomised(module: ModuleT) -> ModuleT:
    """Random weights *and* running statistics: a norm at its initial ones would hide every folding error."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(std=0.5, generator=generator)
            norm.running_var.uniform_(0.3, 3.0, generator=generator)
            nn.init.normal_(norm.weight, 1.0, 0.3, generator)
            nn.init.normal_(norm.bias, 0.0, 0.3, generator)
    return module.eval()


def relative_error(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.std())


@torch.inference_mode()
def assert_encoder_matches(
    golden: Golden, encoder: ImageEncoder, prepare: Callable[[], nn.Module] | None = None
) -> None:
    """Fail unless the encoder's maps are those of the golden, on all of its encoded frames.

    Args:
        prepare: called once the weights are loaded; what it returns takes the trunk's place.
    """
    prefix = "image_encoder."
    state = {key.removeprefix(prefix): v for key, v in seeded_state(golden).items() if key.startswith(prefix)}
    encoder.load_state_dict(state)
    encoder.eval()
    if prepare is not None:
        encoder.trunk = prepare()
    inputs = model_inputs(golden)
    maps: list[list[Tensor]] = [encoder(inputs[index : index + 1]) for index in golden.arrays["enc_frame"]]
    got = {}
    for level, rows in enumerate(zip(*maps, strict=True)):
        got[f"enc{level}_stats"] = np.array([[row.mean(), row.std()] for row in rows])
        middle = slice(rows[0].shape[-1] // 2, rows[0].shape[-1] // 2 + 4)
        got[f"enc{level}_slice"] = np.stack([row[0, :8, middle, middle].numpy() for row in rows])
    assert_golden(golden, got)
