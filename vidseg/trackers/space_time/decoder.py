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

from vidseg.memory.cpu_kernels import cpu_kernels_serve
from vidseg.trackers.space_time.small_windows import to_one_channel

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
        memory_rchw: Tensor,
        memory_maps_rmhw: Tensor,
        likeness_rkhw: Tensor,
        prompt_rchw: Tensor,
        prompt_maps_rmhw: Tensor,
        context_rchw: Tensor,
        fine: list[Tensor],
    ) -> DecodedMaps:
        """Decode what was read for R objects; what was read of a prompt has 1 row if it is the same for all.

        Args:
            memory_rchw: what was read of memory, without the maps.
            memory_maps_rmhw: what was read of memory pixel by pixel, in the order of `CARRIED`.
            likeness_rkhw: the `LIKENESS` maps, which are part of `memory_rchw`, too.
            prompt_rchw: what was read of the prompt.
            prompt_maps_rmhw: what was read of it pixel by pixel.
            context_rchw: the frame's features at stride 8; 1 or R rows.
            fine: the frame's features at strides 2 and 4; 1 or R rows.
        """
        both = memory_maps_rmhw, prompt_maps_rmhw
        both_at_4 = [_halved(part) for part in both]
        both_at_8 = [_halved(part) for part in both_at_4]
        maps = [in_order(*parts) for parts in (both, both_at_4, both_at_8)]
        return self.decode((memory_rchw, prompt_rchw), maps, likeness_rkhw, context_rchw, fine)

    def decode(
        self,
        read: Sequence[Tensor],
        maps: Sequence[Sequence[Tensor]],
        likeness_rkhw: Tensor,
        context_rchw: Tensor,
        fine: Sequence[Tensor],
    ) -> DecodedMaps:
        """`forward` for maps that are halved already; what lies side by side comes in one part or several.

        Args:
            read: what was read of memory and the prompt, without the maps.
            maps: the maps in the order of `CARRIED`, at strides 2, 4 and 8.
        """
        maps_2, maps_4, maps_8 = maps
        entered = convolved(self.enter, (*read, *maps_8), context_rchw)
        x = self.merge(F.relu(entered, inplace=True))
        wide = self.coarse(F.relu(self.down(x), inplace=True))
        x = self.leave(x + F.interpolate(wide, scale_factor=2.0, mode="bilinear"))
        coarse_logits = self.coarse_mask(x)
        at_4 = convolved(self.enter_4, maps_4, fine[1])
        at_4 = F.relu(at_4.add_(F.interpolate(self.to_4(x), scale_factor=2.0, mode="bilinear")), inplace=True)
        at_4 = F.relu(self.refine_4(at_4).add_(at_4), inplace=True)
        at_2 = convolved(self.enter_2, maps_2, fine[0])
        at_2 = F.relu(
            at_2.add_(F.interpolate(self.to_2(at_4), scale_factor=2.0, mode="bilinear")), inplace=True
        )
        at_2 = F.relu(self.refine_2(at_2).add_(at_2), inplace=True)
        logits = convolved(self.carry, maps_2, to_one_channel(self.mask, at_2))
        logits = logits + F.interpolate(coarse_logits, scale_factor=4.0, mode="bilinear")
        logits = logits[:, 0].float()

        at_8 = joined(maps_8)
        weights = F.avg_pool2d(logits.sigmoid()[:, None], 4).to(x.dtype)
        peak = weights.amax(dim=(2, 3))
        area = weights.mean(dim=(2, 3)).sqrt()
        made = torch.cat((_pool(x, weights), peak, area), dim=1)
        of_maps = _pool(torch.cat((at_8, weights, likeness_rkhw), dim=1), weights)
        score = self.score(torch.cat((made, of_maps), dim=1))
        return DecodedMaps(logits, score[:, 0].float(), self.iou(made)[:, 0].float())


def convolved(conv: nn.Conv2d, parts: Sequence[Tensor], added: Tensor | None = None) -> Tensor:
    """The convolution, on the same grid, of maps that lie side by side, and another map added to it.

    Parts with 1 row, where others have several, are the same for all rows. In tracking on a CPU they are
    convolved once.
    """
    if type(conv) is not nn.Conv2d or not cpu_kernels_serve(parts[0]):
        out: Tensor = conv(joined(parts))
        return out if added is None else out + added
    rows = max(len(part) for part in parts)
    pairs = list(zip(parts, conv.weight.split([part.shape[1] for part in parts], dim=1), strict=True))
    is_channels_last = conv.weight.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if is_channels_last else torch.contiguous_format

    def sum_over(chosen: Sequence[tuple[Tensor, Tensor]], bias: Tensor | None) -> Tensor:
        x, kernel = (torch.cat(column, dim=1) for column in zip(*chosen, strict=True))
        return F.conv2d(x, kernel.contiguous(memory_format=layout), bias, padding=conv.padding)

    out = sum_over([pair for pair in pairs if len(pair[0]) == rows], conv.bias)
    if shared := [pair for pair in pairs if len(pair[0]) != rows]:
        of_all = sum_over(shared, None)
        added = of_all if added is None else added + of_all
    return out if added is None else out.add_(added)


def in_order(memory_maps: Tensor, prompt_maps: Tensor) -> list[Tensor]:
    """The maps of memory and prompt in the order of `CARRIED`."""
    return [memory_maps[:, :1], prompt_maps[:, :1], memory_maps[:, 1:], prompt_maps[:, 1:]]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Maps side by side; those with 1 row are repeated for all others."""
    counts = [part.shape[0] for part in parts]
    if all(count == counts[0] for count in counts):  # so it is in exports, where their number is free
        return torch.cat(list(parts), dim=1)
    rows = max(counts)
    return torch.cat([part.expand(rows, -1, -1, -1) for part in parts], dim=1)


def _halved(maps_rmhw: Tensor) -> Tensor:
    """Means over 2 x 2 pixels. On a CPU `F.avg_pool2d` takes several times as long as sums of maps."""
    if not cpu_kernels_serve(maps_rmhw):
        return F.avg_pool2d(maps_rmhw, 2)
    above, below = maps_rmhw[..., ::2, :], maps_rmhw[..., 1::2, :]
    return (above[..., ::2] + above[..., 1::2] + below[..., ::2] + below[..., 1::2]) / 4


def _head(in_channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_channels, width), nn.ReLU(), nn.Linear(width, 1))


def weighted_mean(maps_rchw: Tensor, weights_r1hw: Tensor) -> Tensor:
    """Means of maps by the weights of cells: R x C; 0 where there is no weight."""
    return (maps_rchw * weights_r1hw).sum(dim=(2, 3)) / (weights_r1hw.sum(dim=(2, 3)) + 1e-3)


def _pool(maps_rchw: Tensor, weights_r1hw: Tensor) -> Tensor:
    """Weighted means, plain means and maxima of maps: R x 3·C."""
    by_weight = weighted_mean(maps_rchw, weights_r1hw)
    return torch.cat((by_weight, maps_rchw.mean(dim=(2, 3)), maps_rchw.amax(dim=(2, 3))), dim=1)
