"""PicoSAM2's network: a small U-Net that segments the object in the middle of a square cut from a picture.

Source: Bonazzi et al., "PicoSAM2: Low-Latency Segmentation In-Sensor for Edge Vision Applications", 2025, and
its code (github.com/pbonazzi/picosam2, Apache-2.0; widths and the order of layers were read there). Parameter
names are those of its checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidseg.trackers.backbones.conv_norm import folded

WIDTHS = (48, 96, 160, 256)
"""Channels of the stages on the way down, at strides 1, 2, 4 and 8."""
BOTTLENECK = 320
UP_WIDTHS = (192, 128, 80, 40)
"""Channels on the way up, at strides 8, 4, 2 and 1."""


STRIDE = 16
"""The side of a square is a multiple of this: four convolutions halve it."""


class PicoNetwork(nn.Module):
    """Squares of 96 pixels to mask logits on the same grid; any multiple of `STRIDE` will do."""

    def __init__(self) -> None:
        super().__init__()
        before = 3
        for number, width in enumerate(WIDTHS, start=1):
            self.add_module(f"encoder_stage{number}", _separable(before, width))
            self.add_module(f"down{number}", nn.Conv2d(width, width, 3, 2, padding=1, bias=False))
            before = width
        self.bottleneck = _separable(before, BOTTLENECK)
        before = BOTTLENECK
        for number, width in enumerate(UP_WIDTHS, start=1):
            enlarge = nn.Upsample(scale_factor=2, mode="nearest")
            self.add_module(f"up{number}", nn.Sequential(enlarge, _separable(before, width)))
            # Skips are numbered like the stages that they come from.
            self.add_module(f"skip_conn{5 - number}", nn.Conv2d(WIDTHS[-number], width, 1))
            before = width
        self.output_head = nn.Conv2d(before, 1, 1)

    def forward(self, crops_b3ss: Tensor) -> Tensor:
        """Mask logits B x 1 x S x S of normalised crops."""
        x = crops_b3ss.contiguous(memory_format=torch.channels_last)
        maps = []
        for number in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"encoder_stage{number}")(x)
            maps.append(x)
            x = self.get_submodule(f"down{number}")(x)
        x = self.bottleneck(x)
        for number in range(1, len(UP_WIDTHS) + 1):
            skipped = self.get_submodule(f"skip_conn{5 - number}")(maps[-number])
            x = self.get_submodule(f"up{number}")(x) + skipped
        logits: Tensor = self.output_head(x)
        return logits

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold norms and activations into convolutions; load weights before, as names differ then."""
        for layers in [m for m in self.modules() if isinstance(m, nn.Sequential) and len(m) == 6]:
            for index in (0, 3):
                conv = layers[index]
                assert isinstance(conv, nn.Conv2d)
                layers[index] = folded(conv, layers[index + 1], "relu")
                layers[index + 1], layers[index + 2] = nn.Identity(), nn.Identity()


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """A depthwise 3x3 convolution and a 1x1 one, each with a norm and a ReLU after it."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )
