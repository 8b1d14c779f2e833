"""The installed official `SAM2ImagePredictor`, for comparisons.

It needs torchvision's Python parts alone (transforms and boxes). Where torchvision's compiled operators do
not load, because they were built for another build of torch, declaring the two that it asks for at import is
enough.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from support.official import official_predictor


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
