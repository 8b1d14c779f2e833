"""The samplers against SAM's and TinySAM's generators, on a planted label map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.planted import decoder
from vidseg.samplers import propose

SCENARIOS = ("grid32", "grid16", "grid16_crops", "grid16_small", "two_round32", "two_round16")


@pytest.mark.shared
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_sampler_against_the_official_generator(scenario: str, shared: Path) -> None:
    golden = np.load(shared / "goldens" / "image" / "golden_sampler.npz")
    settings = json.loads(str(golden["meta"]))[scenario]
    wanted = {key: settings.pop(key) for key in ("prompts", "found")}
    labels = golden["label_map"]
    long_side = max(labels.shape)

    found, asked = propose(
        "grid" if scenario.startswith("grid") else "two-round",
        decoder(labels, long_side),
        labels.shape,
        decode_crop=lambda crop: decoder(labels[crop.y0 : crop.y1, crop.x0 : crop.x1], long_side),
        **settings,
    )

    assert {"prompts": asked, "found": len(found)} == wanted
    of = {name.removeprefix(f"{scenario}_"): golden[name] for name in golden if name.startswith(scenario)}
    assert np.array_equal([one.box_xywh for one in found], of["boxes_xywh"])
    assert np.array_equal([one.point_xy for one in found], of["points"])
    assert np.array_equal([one.mask.sum() for one in found], of["area"])
    assert np.array_equal(np.packbits([one.mask for one in found], axis=2), of["bits"])
    assert np.allclose([one.predicted_iou for one in found], of["iou"], rtol=0, atol=1e-6)
    assert np.allclose([one.stability for one in found], of["stability"], rtol=0, atol=1e-6)
