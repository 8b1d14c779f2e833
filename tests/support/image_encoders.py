"""Parity of image encoders with the golden files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from support.goldens import Golden, assert_golden, model_inputs, seeded_state
from vidseg.trackers.image_encoder import ImageEncoder


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
