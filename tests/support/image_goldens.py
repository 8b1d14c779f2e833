"""Golden answers of official image models on one picture, and the keys of official models.

The files and their tolerances are described in `goldens/README.md` of the development data, "Image goldens".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from support.goldens import goldens_folder, seeded
from vidseg.trackers.weights import PUBLISHED

PARTS_ALONE = ("nanosam_resnet18", "nanosam_resnet34", "nanosam_resnet50", "picosam2")
"""Goldens of an encoder or of a network alone; the families' own tests read them."""

BIASES_UNREAD = ("mobile_sam", "tinysam")
"""Goldens that were made without the biases of attention.

The official TinyViT looks its biases up when `eval()` is called. Its builder calls it before the weights are
loaded, and MobileSAM's README once more after that. The goldens lack the second call, so they saw the zeros
of a new module. `test_mobile_sam.py` compares with the biases.
"""


@dataclass(frozen=True, eq=False)
class ImageGolden:
    """What an official model says of one picture."""

    model: str
    """The official name: 'sam_vit_b'."""
    arrays: Mapping[str, npt.NDArray[Any]]
    meta: Mapping[str, Any]

    @property
    def prompts(self) -> dict[str, dict[str, Any]]:
        """Name of a prompt -> keyword arguments of `Embedding.candidates`."""
        return dict(self.meta["prompts"])

    @property
    def manifest(self) -> dict[str, Any]:
        """`state_dict` (key -> [shape, dtype]), `num_params`, `num_entries`."""
        path = goldens_folder() / "image" / self.meta["manifest"]
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return manifest

    def state(self) -> dict[str, Tensor]:
        """The weights that the golden was made with, under the official names."""
        weights = self.meta["weights"]
        state = seeded(self.manifest, weights["seed"], weights["overrides"])
        if self.model in BIASES_UNREAD:
            state |= {k: torch.zeros_like(v) for k, v in state.items() if k.endswith(".attention_biases")}
        return state


def load_image_golden(model: str) -> ImageGolden:
    with np.load(goldens_folder() / "image" / f"golden_image_{model}.npz", allow_pickle=False) as file:
        arrays = dict(file)
    return ImageGolden(model, arrays, json.loads(str(arrays.pop("meta"))))


@cache
def golden_picture() -> npt.NDArray[np.uint8]:
    """uint8 (216, 384, 3), RGB: the picture of all image goldens."""
    frames: npt.NDArray[np.uint8] = np.load(goldens_folder() / "frames.npz", allow_pickle=False)["frames"]
    return frames[0]


def official_shapes() -> dict[str, tuple[int, dict[str, tuple[int, ...]]]]:
    """Official name of every image model -> its number of parameters, and the shapes of its keys."""
    folder = goldens_folder() / "image"
    found = {}
    for path in sorted([*folder.glob("manifest_*.json"), *folder.glob("keys/*.json")]):
        facts = json.loads(path.read_text("utf-8"))
        if "state_dict" in facts:  # a manifest: [shape, type] for each key
            shapes = {key: shape for key, (shape, _) in facts["state_dict"].items()}
        else:
            shapes = facts["shapes"]
        num_params = facts["num_params"] if "num_params" in facts else facts["params"]
        found[path.stem.removeprefix("manifest_")] = (
            num_params,
            {key: tuple(shape) for key, shape in shapes.items()},
        )
    return found


def our_name(official: str) -> str | None:
    """Our name of an official model; None for one that is not there."""
    return next((name for name, wanted in PUBLISHED.items() if wanted.official_config == official), None)


def image_golden_models() -> list[Any]:
    """The official names of the models that have a golden, as slow parameters of a test."""
    paths = sorted((goldens_folder() / "image").glob("golden_image_*.npz"))
    names = [path.stem.removeprefix("golden_image_") for path in paths]
    if not names:
        reason = f"needs the golden files, which are not at {goldens_folder()} (set VIDSEG_SHARED)"
        return [pytest.param("absent", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(name, marks=pytest.mark.slow) for name in names if name not in PARTS_ALONE]


def assert_within(name: str, want: npt.NDArray[Any], got: npt.NDArray[Any], share: float = 5e-4) -> None:
    """Fail unless two arrays differ by at most a share of the wanted one's deviation."""
    assert got.shape == want.shape, f"{name}: {got.shape} instead of {want.shape}"
    apart = float(np.abs(got - want).max()) / float(want.std())
    assert apart <= share, f"{name}: {apart:.2e} of its deviation apart, {share} is allowed"
