"""The memory encoder: a frame's features and an object's mask become a spatial memory.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos", section 4 and
appendix C ("Memory encoder").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidseg.memory.norm import LayerNorm2d


class MaskDownsampler(nn.Module):
    """Convolutions that bring masks at the model's input size, B x 1 x S x S, to B x C x S/16 x S/16."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for _ in range(4):
            layers += [
                nn.Conv2d(channels, channels * 4, 3, stride=2, padding=1),
                LayerNorm2d(channels * 4),
                nn.GELU(),
            ]
            channels *= 4
        layers.append(nn.Conv2d(channels, out_channels, 1))
        self.encoder = nn.Sequential(*layers)

    def forward(self, masks_b1ss: Tensor) -> Tensor:
        return self.encoder(masks_b1ss)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, norm, two pointwise layers, layer scale (Liu et al., "A ConvNet for the 2020s")."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x_bchw: Tensor) -> Tensor:
        x_bhwc = self.norm(self.dwconv(x_bchw)).permute(0, 2, 3, 1)
        x_bhwc = self.gamma * self.pwconv2(self.act(self.pwconv1(x_bhwc)))
        return x_bchw + x_bhwc.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """The ConvNeXt blocks that mix features and mask: B x C x H x W, unchanged in shape."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNeXtBlock(channels) for _ in range(num_layers))

    def forward(self, x_bchw: Tensor) -> Tensor:
        for layer in self.layers:
            x_bchw = layer(x_bchw)
        return x_bchw


class MemoryEncoder(nn.Module):
    """Fuses a frame's features with masks. The features are *unconditioned*: memories must not feed on
    memories."""

    def __init__(self, in_channels: int = 256, out_channels: int = 64, fuser_layers: int = 2) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(in_channels)
        self.pix_feat_proj = nn.Conv2d(in_channels, in_channels, 1)
        self.fuser = Fuser(in_channels, fuser_layers)
        self.out_proj = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, features_1chw: Tensor, masks_b1ss: Tensor) -> Tensor:
        """Spatial memories of B objects: B x 64 x H x W.

        Args:
            features_1chw: the frame's features at stride 16, shared by all objects.
            masks_b1ss: the objects' masks at the model's input size, scaled as the model was trained on them.
        """
        return self.out_proj(
            self.fuser(self.pix_feat_proj(features_1chw) + self.mask_downsampler(masks_b1ss))
        )
