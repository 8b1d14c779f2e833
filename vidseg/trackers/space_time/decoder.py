"""Decodes what was read to masks: a small U-shaped network, one pass for all objects.

Layouts: R rows (objects) · C channels · M maps · H W the key grid (stride 8) · h w the low-res grid (stride
2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8
CARRIED = (1.0, 5.0, 6.0, 0.0, 1.0, 0.0, 1.0, 2.0, 0.0)
"""Initial weights with which the maps add up to a mask. The maps are: masks read of conditioning frames and
of the prompt; the mask carried from the previous frame; where that does not fit; what moves with the object;
how likely the colour is by conditioning frames, and close by; how likely it is by the prompt; and the mask of
the prompt."""
MAPS = len(CARRIED)
POOLS = 3
"""How many vectors `_pool` makes of a map."""
LIKENESS = 2
"""How many maps say how much each cell resembles the object: on conditioning frames, and on tracked ones."""


def conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution and a group norm, which does not mix objects."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.GroupNorm(GROUPS, out_channels),
    )


class Block(nn.Module):
    """Two convolutions, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)

    def forward(self, x_rchw: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x_rchw), inplace=True)).add_(x_rchw), inplace=True)


@dataclass(frozen=True, slots=True)
class DecodedMaps:
    """The output of the decoder for R objects."""

    logits_rhw: Tensor
    """Mask logits on the low-res grid."""
    score_logits_r: Tensor
    """Object scores: above 0 the object is there."""
    iou_logits_r: Tensor
    """Predicted IoUs before the sigmoid."""


class LabelDecoder(nn.Module):
    """The decoder from what was read to masks, object scores and predicted IoUs.

    Args:
        in_channels: channels of what is read and drawn for each object, without the maps.
        context: channels of the frame's features at stride 8.
        fine: channels of the frame's features at strides 2 and 4.
    """

    def __init__(self, in_channels: int, context: int, fine: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Conv2d(in_channels + MAPS, context, 3, padding=1)
        self.merge = Block(context)
        self.down = conv(context, context, stride=2)
        self.coarse = Block(context)
        self.leave = Block(context)
        self.to_4 = nn.Conv2d(context, fine[1], 1)
        self.enter_4 = nn.Conv2d(MAPS, fine[1], 3, padding=1, bias=False)
        self.refine_4 = conv(fine[1], fine[1])
        self.to_2 = nn.Conv2d(fine[1], fine[0], 1)
        self.enter_2 = nn.Conv2d(MAPS, fine[0], 3, padding=1, bias=False)
        self.refine_2 = conv(fine[0], fine[0])
        self.mask = nn.Conv2d(fine[0], 1, 3, padding=1)
        self.coarse_mask = nn.Conv2d(context, 1, 1)
        # The mask starts as what was read; the other layers learn to correct it.
        self.carry = nn.Conv2d(MAPS, 1, 1)
        with torch.no_grad():
            self.carry.weight.copy_(torch.tensor(CARRIED).view(1, MAPS, 1, 1))
            self.carry.bias.fill_(-3.5)  # type: ignore[union-attr]
            self.mask.weight.mul_(0.1)
            self.coarse_mask.weight.mul_(0.1)
        self.iou = _head(POOLS * context + 2, context)
        # Presence shows more in what was read than in the decoded mask, so the score reads both.
        self.score = _head(POOLS * (context + MAPS + 1 + LIKENESS) + 2, context)

    def forward(
        self,
        read_rchw: Tensor,
        maps_rmhw: Tensor,
        likeness_rkhw: Tensor,
        context_rchw: Tensor,
        fine: list[Tensor],
    ) -> DecodedMaps:
        """Decode what was read for R objects.

        Args:
            read_rchw: what was read, without the maps.
            maps_rmhw: maps that are read pixel by pixel, in the order of `CARRIED`.
            likeness_rkhw: the `LIKENESS` maps, which are part of `read_rchw`, too.
            context_rchw: the frame's features at stride 8; 1 or R rows.
            fine: the frame's features at strides 2 and 4; 1 or R rows.
        """
        at_8 = F.avg_pool2d(maps_rmhw, 4)
        entered = self.enter(torch.cat((read_rchw, at_8), dim=1))
        x = self.merge(F.relu(entered + context_rchw, inplace=True))
        wide = self.coarse(F.relu(self.down(x), inplace=True))
        x = self.leave(x + F.interpolate(wide, scale_factor=2.0, mode="bilinear"))
        coarse_logits = self.coarse_mask(x)
        at_4 = fine[1] + self.enter_4(F.avg_pool2d(maps_rmhw, 2))
        at_4 = F.relu(at_4.add_(F.interpolate(self.to_4(x), scale_factor=2.0, mode="bilinear")), inplace=True)
        at_4 = F.relu(self.refine_4(at_4).add_(at_4), inplace=True)
        at_2 = self.enter_2(maps_rmhw).add_(fine[0])
        at_2 = F.relu(
            at_2.add_(F.interpolate(self.to_2(at_4), scale_factor=2.0, mode="bilinear")), inplace=True
        )
        at_2 = F.relu(self.refine_2(at_2).add_(at_2), inplace=True)
        logits = self.mask(at_2).add_(self.carry(maps_rmhw))
        logits = logits + F.interpolate(coarse_logits, scale_factor=4.0, mode="bilinear")
        logits = logits[:, 0].float()

        weights = F.avg_pool2d(logits.sigmoid()[:, None], 4).to(x.dtype)
        peak = weights.amax(dim=(2, 3))
        area = weights.mean(dim=(2, 3)).sqrt()
        made = torch.cat((_pool(x, weights), peak, area), dim=1)
        read = _pool(torch.cat((at_8, weights, likeness_rkhw), dim=1), weights)
        score = self.score(torch.cat((made, read), dim=1))
        return DecodedMaps(logits, score[:, 0].float(), self.iou(made)[:, 0].float())


def _head(in_channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_channels, width), nn.ReLU(), nn.Linear(width, 1))


def _pool(maps_rchw: Tensor, weights_r1hw: Tensor) -> Tensor:
    """Weighted means, plain means and maxima of maps: R x 3·C."""
    by_weight = (maps_rchw * weights_r1hw).sum(dim=(2, 3)) / (weights_r1hw.sum(dim=(2, 3)) + 1e-3)
    return torch.cat((by_weight, maps_rchw.mean(dim=(2, 3)), maps_rchw.amax(dim=(2, 3))), dim=1)
