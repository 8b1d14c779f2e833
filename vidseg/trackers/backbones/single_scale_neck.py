"""The neck of single-scale encoders: one map at stride 16, brought to the width of the heads.

Source: Kirillov et al., "Segment Anything", ICCV 2023, appendix A (the image encoder's last two layers);
EfficientTAM uses it as it is.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from vidseg.memory.norm import LayerNorm2d


class SingleScaleNeck(nn.Module):
    """A 1x1 and a 3x3 convolution, each with a norm over channels after it.

    Args:
        in_channels: channels of the backbone's map.
        channels: channels of the map that the neck returns.
    """

    def __init__(self, in_channels: int, channels: int = 256) -> None:
        super().__init__()
        layers = OrderedDict(
            conv_1x1=nn.Conv2d(in_channels, channels, 1, bias=False),
            norm_0=LayerNorm2d(channels),
            conv_3x3=nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            norm_1=LayerNorm2d(channels),
        )
        self.convs = nn.ModuleList([nn.Sequential(layers)])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The backbone's one map, B x in_channels x H x W, as one of B x channels x H x W."""
        return [self.convs[0](maps[0])]
