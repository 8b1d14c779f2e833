"""Answers boxes and clicks on one frame: a network of its own, apart from the one that follows objects.

It runs on prompted frames alone, so that it may be larger than the decoder of every frame, and is trained on
single pictures, which cost a fraction of a clip. Most of its weights are at strides 16 and 32, where they
cost little time.

Source: Xu et al., "Deep Interactive Object Selection" (CVPR 2016), prompts as maps beside the picture;
Sofiiuk et al., "Reviving Iterative Training with Mask Guidance" (RITM, arXiv:2102.06583), the mask so far as
one more map.

Layouts: R rows (objects) · C channels · H W the key grid (stride 8) · h w the low-res grid (stride 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.trackers.model import MASK_LOGIT_BIAS, MASK_LOGIT_SCALE
from vidseg.trackers.space_time import prompt_maps
from vidseg.trackers.space_time.answer import Answer
from vidseg.trackers.space_time.colour_reading import by_colour, colour_counts
from vidseg.trackers.space_time.decoder import Block, conv, weighted_mean

MAPS = prompt_maps.CHANNELS + 3
"""The maps of a prompt, the mask so far, whether it is one to correct, and colours by it."""
LIKENESS = 2
"""Maps of how much each cell resembles the object, and what is known to be around it."""
MASK_SCALE = 4.0
"""Weight with which the mask so far begins as the answer; training changes it."""


class PromptDecoder(nn.Module):
    """A U-shaped network from a prompt, a mask so far and the frame's features to mask logits.

    Args:
        key, context: channels of the frame's keys and of its features at stride 8.
        fine: channels of the frame's features at strides 2 and 4.
        coarse: channels of the backbone's maps at strides 16 and 32.
        wide: the network's own channels there.
    """

    def __init__(
        self,
        key: int,
        context: int,
        fine: Sequence[int],
        coarse: Sequence[int],
        wide: Sequence[int] = (128, 144),
    ) -> None:
        super().__init__()
        self.enter = nn.Conv2d(key + context + MAPS + LIKENESS, context, 3, padding=1)
        self.merge = Block(context)
        self.down_16 = conv(context, wide[0], stride=2)
        self.seen_16 = nn.Conv2d(coarse[0], wide[0], 1)
        self.enter_16 = Block(wide[0])
        self.down_32 = conv(wide[0], wide[1], stride=2)
        self.seen_32 = nn.Conv2d(coarse[1], wide[1], 1)
        self.enter_32 = Block(wide[1])
        # What the prompt lies on, and the whole picture, as one vector each: no convolution sees as far.
        self.asked = nn.Linear(2 * wide[1], wide[1])
        self.leave_32 = Block(wide[1])
        self.to_16 = nn.Conv2d(wide[1], wide[0], 1)
        self.leave_16 = Block(wide[0])
        self.to_8 = nn.Conv2d(wide[0], context, 1)
        self.leave_8 = Block(context)
        self.to_4 = nn.Conv2d(context, fine[1], 1)
        self.enter_4 = nn.Conv2d(MAPS, fine[1], 3, padding=1, bias=False)
        self.refine_4 = Block(fine[1])
        self.to_2 = nn.Conv2d(fine[1], fine[0], 1)
        self.enter_2 = nn.Conv2d(MAPS, fine[0], 3, padding=1, bias=False)
        self.refine_2 = Block(fine[0])
        self.mask = nn.Conv2d(fine[0], 1, 3, padding=1)
        self.coarse_mask = nn.Conv2d(context, 1, 1)
        self.mask_scale = nn.Parameter(torch.tensor(MASK_SCALE))
        self.iou = nn.Sequential(
            nn.Linear(2 * context + wide[1] + 1, context), nn.ReLU(), nn.Linear(context, 1)
        )

    def forward(
        self,
        keys_rchw: Tensor,
        context_rchw: Tensor,
        maps: Sequence[Tensor],
        drawn_rchw: Tensor,
        so_far_rmhw: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits R x h x w, and predicted IoUs before the sigmoid, R.

        Args:
            keys_rchw, context_rchw: of the frame, at stride 8; 1 or R rows.
            maps: the frame's features at strides 2 and 4, and the backbone's maps at strides 16 and 32; 1 or
                R rows.
            drawn_rchw: maps of `prompt_maps.draw` at stride 8.
            so_far_rmhw: at stride 2 the mask so far, from 0 to 1, whether it is one to correct, and colours
                by it.
        """
        rows = drawn_rchw.shape[0]
        fine_2, fine_4, seen_16, seen_32 = maps
        finely = F.interpolate(drawn_rchw, scale_factor=4.0, mode="bilinear")
        at_2 = torch.cat((finely, so_far_rmhw), dim=1)
        at_4 = F.avg_pool2d(at_2, 2)
        at_8 = torch.cat((drawn_rchw, F.avg_pool2d(so_far_rmhw, 4)), dim=1)
        on, off = _known(at_8)
        likeness = [_likeness(keys_rchw, where) for where in (on, off)]
        seen = torch.cat((keys_rchw, context_rchw), dim=1).expand(rows, -1, -1, -1)
        x = self.merge(F.relu(self.enter(torch.cat((seen, at_8, *likeness), dim=1)), inplace=True))
        x_16 = self.enter_16(F.relu(self.down_16(x) + self.seen_16(seen_16), inplace=True))
        x_32 = self.enter_32(F.relu(self.down_32(x_16) + self.seen_32(seen_32), inplace=True))
        asked = torch.cat((weighted_mean(x_32, F.avg_pool2d(on, 4)), x_32.mean(dim=(2, 3))), dim=1)
        x_32 = self.leave_32(F.relu(x_32 + self.asked(asked)[:, :, None, None]))
        x_16 = self.leave_16(F.relu(x_16 + _doubled(self.to_16(x_32))))
        x = self.leave_8(F.relu(x + _doubled(self.to_8(x_16))))
        y = F.relu(fine_4 + self.enter_4(at_4) + _doubled(self.to_4(x)))
        y = self.refine_4(y)
        z = F.relu(fine_2 + self.enter_2(at_2) + _doubled(self.to_2(y)))
        z = self.refine_2(z)
        logits = self.mask(z) + F.interpolate(self.coarse_mask(x), scale_factor=4.0, mode="bilinear")
        logits = (logits + self.mask_scale * (so_far_rmhw[:, :1] - 0.5)).float()
        weights = F.avg_pool2d(logits.sigmoid(), 4).to(x.dtype)
        pooled = (
            weighted_mean(x, weights),
            x.amax(dim=(2, 3)),
            x_32.mean(dim=(2, 3)),
            weights.mean(dim=(2, 3)),
        )
        return logits[:, 0], self.iou(torch.cat(pooled, dim=1))[:, 0].float()


def answer_of(
    network: PromptDecoder,
    seen: tuple[Tensor, Tensor, Sequence[Tensor]],
    pixels_r3hw: Tensor,
    drawn_rchw: Tensor,
    mask_rhw: Tensor,
    *,
    is_correction: bool,
) -> Answer:
    """The network's answer to prompts; who points at something says that it is there.

    Args:
        seen: keys, context and maps of the frame, as `PromptDecoder` takes them.
        pixels_r3hw: RGB of the frame on the low-res grid, from 0 to 255; 1 or R rows.
        drawn_rchw: maps of `prompt_maps.draw` at stride 8.
        mask_rhw: the mask so far, from 0 to 1.
        is_correction: whether the prompt corrects this mask; else it is a first guess.
    """
    mask = mask_rhw[:, None]
    colours = by_colour(pixels_r3hw, colour_counts(pixels_r3hw, mask)).to(mask.dtype)
    so_far = torch.cat((mask, torch.full_like(mask, float(is_correction)), colours), dim=1)
    logits, ious = network(*seen, drawn_rchw, so_far)
    is_there = (logits > 0).flatten(1).any(dim=1)
    scores = (is_there * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS).float()
    return Answer(logits, scores, ious, torch.zeros_like(logits), torch.ones_like(logits))


def _known(at_8_rmhw: Tensor) -> tuple[Tensor, Tensor]:
    """Where the object is, and where something else is, as far as is known: R x 1 x H x W each."""
    box, on, off, mask = at_8_rmhw[:, :4].split(1, dim=1)
    has_box = box.amax(dim=(2, 3), keepdim=True)
    return torch.maximum(mask, on), torch.maximum(off, has_box * (1 - box))


def _likeness(keys_rchw: Tensor, where_r1hw: Tensor) -> Tensor:
    """Cosines of keys with the mean key of some cells: R x 1 x H x W; 0 where there are none."""
    keys = keys_rchw.expand(where_r1hw.shape[0], -1, -1, -1)
    mean = weighted_mean(keys, where_r1hw)
    mean = mean / (mean.norm(dim=1, keepdim=True) + 1e-3)
    return (keys * mean[:, :, None, None]).sum(dim=1, keepdim=True)


def _doubled(x_rchw: Tensor) -> Tensor:
    return F.interpolate(x_rchw, scale_factor=2.0, mode="bilinear")
