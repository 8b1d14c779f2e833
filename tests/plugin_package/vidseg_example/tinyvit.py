"""TinyViT: convolutions at stride 4, then windowed attention with a local convolution in each block.

Source: Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", ECCV 2022.

Layouts in names: B images · C channels · H W the map · W windows · N tokens of a window.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg import register_tracker_config
from vidseg.errors import ConfigError, unknown
from vidseg.trackers.parts import Part, register_backbone
from vidseg.validation import Strict

VARIANTS = {
    "5m": ((64, 128, 160, 320), (2, 4, 5, 10)),
    "11m": ((64, 128, 256, 448), (2, 4, 8, 14)),
    "21m": ((96, 192, 384, 576), (3, 6, 12, 18)),
}
"""Channels and heads of the four stages; the first one has no attention."""
DEPTHS = (2, 2, 6, 2)
WINDOWS = (7, 7, 14, 7)


class ConvNorm(nn.Sequential):
    def __init__(self, inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outside))


class InvertedBottleneck(nn.Module):
    """Wide, depthwise, narrow again, and the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 4 * channels
        self.layers = nn.Sequential(
            ConvNorm(channels, wide),
            nn.GELU(),
            ConvNorm(wide, wide, 3, groups=wide),
            nn.GELU(),
            ConvNorm(wide, channels),
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        return F.gelu(x_bchw + self.layers(x_bchw))


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each distance of rows and columns."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.biases = nn.Parameter(torch.zeros(heads, window * window))
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        apart = [(place.flatten()[:, None] - place.flatten()).abs() for place in (rows, columns)]
        self.register_buffer("distances", apart[0] * window + apart[1], persistent=False)

    def forward(self, x_bchw: Tensor) -> Tensor:
        batch, channels, height, width = x_bchw.shape
        side = self.window
        padded = F.pad(x_bchw, (0, -width % side, 0, -height % side))
        rows, columns = padded.shape[2] // side, padded.shape[3] // side
        x_wnc = padded.reshape(batch, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        x_wnc = self._attend(x_wnc.reshape(-1, side * side, channels))
        x_bhwc = x_wnc.reshape(batch, rows, columns, side, side, channels).permute(0, 1, 3, 2, 4, 5)
        x_bchw = x_bhwc.reshape(batch, rows * side, columns * side, channels).permute(0, 3, 1, 2)
        return x_bchw[:, :, :height, :width]

    def _attend(self, x_wnc: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x_wnc)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.biases[:, self.distances].to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, bias.expand(len(q), -1, -1, -1))
        return self.proj(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, a depthwise convolution, a perceptron; the input is added around the first and the last."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.attention = WindowAttention(channels, heads, window)
        self.local = ConvNorm(channels, channels, 3, groups=channels)
        wide = 4 * channels
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, wide), nn.GELU(), nn.Linear(wide, channels)
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        x_bchw = self.local(x_bchw + self.attention(x_bchw))
        return x_bchw + self.mlp(x_bchw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _halved(inside: int, outside: int) -> nn.Sequential:
    """To half the sides, between two stages."""
    return nn.Sequential(
        ConvNorm(inside, outside),
        nn.GELU(),
        ConvNorm(outside, outside, 3, stride=2, groups=outside),
        nn.GELU(),
        ConvNorm(outside, outside),
    )


class TinyViT(nn.Module):
    """Images to maps at strides 4, 8, 16 and 32."""

    mode = "pyramid"
    strides = (4, 8, 16, 32)

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.channels, heads = VARIANTS[variant]
        first = self.channels[0]
        self.stem = nn.Sequential(
            ConvNorm(3, first // 2, 3, stride=2), nn.GELU(), ConvNorm(first // 2, first, 3, stride=2)
        )
        self.stages = nn.ModuleList([nn.Sequential(*(InvertedBottleneck(first) for _ in range(DEPTHS[0])))])
        for stage in (1, 2, 3):
            channels = self.channels[stage]
            blocks = [Block(channels, heads[stage], WINDOWS[stage]) for _ in range(DEPTHS[stage])]
            self.stages.append(nn.Sequential(_halved(self.channels[stage - 1], channels), *blocks))

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        maps = [self.stages[0](self.stem(images_b3ss))]
        for stage in self.stages[1:]:
            maps.append(stage(maps[-1]))
        return maps


class TinyViTSettings(Strict):
    variant: str = "5m"


def _build(settings: TinyViTSettings) -> TinyViT:
    if settings.variant not in VARIANTS:
        raise ConfigError(unknown("TinyViT", settings.variant, VARIANTS))
    return TinyViT(settings.variant)


register_backbone("outside-tinyvit", Part(TinyViTSettings, _build))
register_tracker_config("outside-tinyvit", Path(__file__).with_suffix(".yaml"))
