"""The installed official `SAM2ImagePredictor`, for comparisons.

It needs torchvision's Python parts alone (transforms and boxes). Where torchvision's compiled operators do
not load, because they were built for another build of torch, declaring the two that it asks for at import is
enough.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor

from support.official import official_predictor
from support.parity import parity_weights
from vidseg.trackers.build import expected_shapes
from vidseg.trackers.registry import read_config
from vidseg.trackers.settings import EngineSettings
from vidseg.trackers.weights import tracker_of

SMALL_SIZE = 256


def picture(seed: int, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Coarse random blocks, RGB."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 13, 3), np.uint8)
    large = np.kron(coarse, np.ones((24, 24, 1), np.uint8))
    return np.ascontiguousarray(large[: size_hw[0], : size_hw[1]])


def small_model(official_config: str, folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """The YAML of an official configuration with inputs of 256 pixels, and weights for it."""
    config = read_config(tracker_of(official_config))[1] | {"image_size": SMALL_SIZE}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    settings = EngineSettings.model_validate({k: v for k, v in config.items() if k != "kind"})
    return path, parity_weights(expected_shapes(settings, "test"), seed=3)


def declare_torchvision_operators() -> None:
    """Declare what torchvision registers fakes for when it is imported; done twice it changes nothing."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # there already
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)


_LIBRARIES: list[torch.library.Library] = []


def official_image_predictor(config: str, state: Mapping[str, Tensor], image_size: int = 1024) -> Any:
    """The official image predictor on the CPU, as `build_sam2` and its class make it."""
    declare_torchvision_operators()
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(official_predictor(config, state, image_size=image_size))
    # It writes the sizes of 1024 pixels down.
    predictor._bb_feat_sizes = [(image_size // stride, image_size // stride) for stride in (4, 8, 16)]
    return predictor
