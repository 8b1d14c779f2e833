"""The image encoder: a backbone and the neck that brings its maps to one width and known strides."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.memory.cached import cached

STRIDES = {"pyramid": (4, 8, 16, 32), "single-scale": (16,)}
"""Strides of the maps that a backbone of each mode makes."""


class Backbone(Protocol):
    """Turns images into feature maps. It publishes what it makes as data, so that necks hard-code nothing."""

    mode: Literal["pyramid", "single-scale"]
    """Pyramid: maps at strides 4, 8, 16, 32 for a feature pyramid. Single-scale: one map at stride 16."""
    channels: tuple[int, ...]
    """Channels of each map, fine to coarse."""
    strides: tuple[int, ...]
    """Strides of each map, fine to coarse."""

    def __call__(self, images_b3ss: Tensor) -> list[Tensor]:
        """Maps B x C x H x W, fine to coarse, of normalised float images B x 3 x S x S."""
        ...


class PyramidNeck(nn.Module):
    """A feature pyramid whose top-down sum is confined to the coarse levels (SAM 2, appendix C).

    Args:
        backbone_channels: channels of the backbone's maps, fine to coarse.
        top_down_levels: levels that add the level above; the others take the backbone's map alone.
    """

    def __init__(
        self, backbone_channels: Sequence[int], channels: int = 256, top_down_levels: Sequence[int] = (2, 3)
    ) -> None:
        super().__init__()
        # The official order of lateral convolutions, and so of their weights, is coarse to fine.
        self.convs = nn.ModuleList(
            nn.Sequential(OrderedDict(conv=nn.Conv2d(c, channels, 1))) for c in reversed(backbone_channels)
        )
        self.top_down_levels = tuple(top_down_levels)

    def forward(self, maps: list[Tensor], finest: int = 0) -> list[Tensor]:
        """Maps of one width, fine to coarse, without the coarsest: strides 4, 8 and 16.

        Args:
            finest: the first level that is wanted.
        """
        out: list[Tensor] = []
        above: Tensor | None = None
        for level in reversed(range(finest, len(maps))):
            x = self.lateral(level)(maps[level])
            if above is not None and level in self.top_down_levels:
                x = x + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = x
            out.append(x)
        # The coarsest map has been added to the one below; the heads do not use it.
        return out[:0:-1]

    def lateral(self, level: int) -> nn.Conv2d:
        """The convolution that takes the backbone's map of a level, counted from fine to coarse."""
        conv = self.convs[len(self.convs) - 1 - level].get_submodule("conv")
        assert isinstance(conv, nn.Conv2d)
        return conv


def fused(backbone: nn.Module) -> nn.Module:
    """A backbone in the form that it tracks with; one that has no other form has no method `fuse`."""
    fuse = getattr(backbone, "fuse", None)
    return fuse() if callable(fuse) else backbone


class ImageEncoder(nn.Module):
    """A backbone and its neck."""

    def __init__(self, trunk: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.neck = neck

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """Maps of 256 channels, fine to coarse, of images B x 3 x S x S; the last map has stride 16."""
        return self.neck(self.trunk(images_b3ss))

    def fuse(self) -> None:
        """Bring the backbone into the form for tracking, if it differs from that for training."""
        self.trunk = fused(self.trunk)


IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


HIGHEST = 255.0
"""The highest value of a pixel."""


@cached(maxsize=8)
def _constants(device: torch.device) -> Tensor:
    """Mean, deviation and `HIGHEST` of each channel: 3 x 3 x 1 x 1. On a GPU they are uploaded once."""
    values = torch.tensor([IMAGE_MEAN, IMAGE_STD, (HIGHEST,) * 3], device=device)
    return values[..., None, None]


def normalise(image_3ss: Tensor) -> Tensor:
    """uint8 3 x S x S as float32 with ImageNet's mean and deviation, as all SAM 2 models expect.

    The result has the same bits on every device. Divisors are tensors, as a GPU multiplies by the reciprocal
    of a number, which is not the same: a model that rounds pixels would see others there.
    """
    mean, std, highest = _constants(image_3ss.device)
    return (image_3ss.float() / highest - mean) / std


def pixels_of(normalised_b3ss: Tensor) -> Tensor:
    """Undo `normalise`: pixels from 0 to 255, in float32."""
    mean, std, _ = _constants(normalised_b3ss.device)
    return (normalised_b3ss.float() * std + mean) * HIGHEST
