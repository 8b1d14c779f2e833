"""EfficientNet-Lite0 up to stride 32: a small classifier of ImageNet with freely licensed weights.

Sources: Tan and Le, "EfficientNet" (ICML 2019); the Lite variants of github.com/tensorflow/tpu
(models/official/efficientnet/lite, Apache-2.0), which have no squeeze-and-excitation and a fixed stem. Their
last stage and head, which only a classifier needs, are left out. Convolutions pad all sides alike, where the
official ones pad the lower right more: maps are the same, shifted by less than a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from vidseg.trackers.backbones.residual import FoldingConvNorm
from vidseg.validation import Strict

STEM = 32


@dataclass(frozen=True)
class Stage:
    """A stage of inverted residuals, the first of which has the stride."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
)
SHOWN = (1, 2, 4, 5)
"""Stages after which a map leaves: those that are the last at strides 4, 8, 16 and 32."""


ConvNorm = partial(FoldingConvNorm, eps=1e-3)
"""A convolution, its batch norm, with TensorFlow's epsilon, as the published weights were trained, and an
activation."""


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; added to the input where shapes agree."""

    def __init__(self, c_in: int, c_out: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = c_in * expansion
        self.expand = ConvNorm(c_in, wide, 1, activation="relu6") if expansion > 1 else None
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide, activation="relu6")
        self.project = ConvNorm(wide, c_out, 1)
        self._is_residual = stride == 1 and c_in == c_out

    def forward(self, x_bchw: Tensor) -> Tensor:
        x = x_bchw if self.expand is None else self.expand(x_bchw)
        x = self.project(self._filtered(x))
        return x_bchw + x if self._is_residual else x

    def _filtered(self, x_bchw: Tensor) -> Tensor:
        device = x_bchw.device.type
        if not (self.training and device == "cpu" and torch.is_autocast_enabled(device)):
            return self.depthwise(x_bchw)
        # In bfloat16, a CPU takes three to seven times as long for gradients of depthwise convolutions.
        with torch.autocast(device, enabled=False):
            return self.depthwise(x_bchw.float())


class EfficientNetLiteSettings(Strict):
    """EfficientNet-Lite0 has no settings."""


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0: images to maps at strides 4, 8, 16 and 32.

    See `vidseg.trackers.image_encoder.Backbone`.
    """

    mode: Literal["pyramid", "single-scale"] = "pyramid"
    strides = (4, 8, 16, 32)
    channels = tuple(STAGES[i].channels for i in SHOWN)

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM, 3, stride=2, activation="relu6")
        self.stages = nn.ModuleList()
        before = STEM
        for stage in STAGES:
            blocks = nn.Sequential()
            for index in range(stage.blocks):
                stride = 1 if index else stage.stride
                blocks.append(
                    InvertedResidual(
                        before,
                        stage.channels,
                        expansion=stage.expansion,
                        kernel=stage.kernel,
                        stride=stride,
                    )
                )
                before = stage.channels
            self.stages.append(blocks)

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        x = self.stem(images_b3ss)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [maps[index] for index in SHOWN]

    def fuse(self) -> EfficientNetLite:
        """The network as it is used in tracking, with norms and activations folded into its convolutions."""
        for module in list(self.modules()):
            if isinstance(module, FoldingConvNorm):
                module.fuse()
        return self
