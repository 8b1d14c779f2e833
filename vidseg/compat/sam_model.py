"""The model object that scripts for `segment_anything` hold, and the registry that makes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from vidseg.compat.calls import CallError
from vidseg.trackers.image.framing import LongSide
from vidseg.trackers.image.load import load_image
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.model import module_of


class Sam:
    """What `sam_model_registry[...]` returns: an image segmenter with the official model's handles.

    Args:
        segmenter: from `vidseg.load_image`, any model whose pictures keep their aspect ratio.

    Raises:
        CallError: the model frames pictures in another way.
    """

    mask_threshold = 0.0
    image_format = "RGB"

    def __init__(self, segmenter: ImageSegmenter) -> None:
        if not isinstance(segmenter.framing, LongSide):
            raise CallError(
                f"'{segmenter.name}' is no model of SAM's kind",
                hint="SAM2ImagePredictor takes it; SamPredictor takes sam-vit-b, mobile-sam and the like",
            )
        self.segmenter = segmenter
        self.framing = segmenter.framing

    @property
    def device(self) -> torch.device:
        return self.segmenter.device

    def to(self, *args: Any, **kwargs: Any) -> Sam:
        """Move the model or change its type, as `torch.nn.Module.to`."""
        self._module.to(*args, **kwargs)
        return self

    def cuda(self, device: int | None = None) -> Sam:
        return self.to(torch.device("cuda", device) if device is not None else "cuda")

    def cpu(self) -> Sam:
        return self.to("cpu")

    def eval(self) -> Sam:
        """No effect: the model is in evaluation mode."""
        return self

    def parameters(self) -> Iterator[nn.Parameter]:
        return self._module.parameters()

    @property
    def _module(self) -> nn.Module:
        return module_of(self.segmenter.model)


def _builder(name: str) -> Callable[..., Sam]:
    def build(checkpoint: str | os.PathLike[str] | None = None) -> Sam:
        """The model; `checkpoint` None: the weights of the cache (`vidseg weights get`)."""
        return Sam(load_image(name, weights=checkpoint, device="cpu"))

    return build


sam_model_registry: dict[str, Callable[..., Sam]] = {
    official: _builder(name)
    for official, name in {
        "default": "sam-vit-h",
        "vit_h": "sam-vit-h",
        "vit_l": "sam-vit-l",
        "vit_b": "sam-vit-b",
        "vit_t": "mobile-sam",
        "repvit": "repvit-sam",
        "edge_sam": "edge-sam",
        "vit_p50": "slim-sam-50",
        "vit_p77": "slim-sam-77",
    }.items()
}
"""The official names of models (`vit_t` is MobileSAM's) -> a function of `checkpoint=`.

Models are on the CPU, as officially; `.to("cuda")` moves them."""
