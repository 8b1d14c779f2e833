"""Spoils true masks the way answers are wrong: edges off by some pixels, size, a part missing, a leak.

Source: Perazzi et al., "Learning Video Object Segmentation from Static Images" (CVPR 2017), section 3.1
(deformed masks in place of the frame before).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 0.02
"""Standard deviation of how far edges are off, as a share of the side of the image."""
WAVES = 4
"""How many waves of displacement fit on a side: edges are off alike over about a fourth of it."""
LEAKS, MISSES = 0.35, 0.25
"""Shares of masks that take in something beside the object, and that miss a part of it."""
ALIKE = 0.12
"""Colours this far apart (of 1) still count as more or less the same."""
REACH = 0.25
"""How far a patch of one colour reaches from its seed, as a share of the side of the image."""


def spoil(masks_bhw: Tensor, pixels_b3hw: Tensor, generator: torch.Generator | None) -> Tensor:
    """Mask logits of spoilt masks: B x h x w; empty masks stay empty.

    Args:
        masks_bhw: true coverage, from 0 to 1.
        pixels_b3hw: the frame, from 0 to 1; patches that are wrongly taken or missed are mostly of one
            colour.
        generator: random numbers; None: the default ones of the masks' device.
    """
    batch, height, width = masks_bhw.shape
    device = masks_bhw.device

    source = device if generator is None else generator.device

    def drawn(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, device=source).to(device)

    def happens(share: float) -> Tensor:
        return torch.rand(batch, 1, 1, generator=generator, device=source).to(device) < share

    def waves(channels: int, cells: int) -> Tensor:
        coarse = drawn(channels, cells, cells)
        return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)

    # The displacement is half-normal: most masks are off by little, some by much.
    how_much = drawn(1, 1, 1).abs() * SHIFT
    moved = (drawn(2, 1, 1) * 0.5 + waves(2, WAVES) + 0.5 * waves(2, 3 * WAVES)) * how_much
    axes = (torch.linspace(-1, 1, size, device=device) for size in (height, width))
    y, x = torch.meshgrid(*axes, indexing="ij")
    places = torch.stack((x, y), dim=-1) + 2 * moved.permute(0, 2, 3, 1)
    masks = F.grid_sample(masks_bhw[:, None], places, padding_mode="border", align_corners=True)
    logits = (F.avg_pool2d(masks, 3, 1, 1)[:, 0] - 0.5 + 0.1 * drawn(1, 1)) * 10

    is_in = masks[:, 0] > 0.5
    near = F.max_pool2d(masks, 2 * (height // 12) + 1, 1, height // 12)[:, 0] > 0.5
    leak = _patch(near & ~is_in, pixels_b3hw, generator) * happens(LEAKS)
    miss = _patch(is_in, pixels_b3hw, generator) * happens(MISSES)
    logits = torch.where(is_in, logits - 8 * miss, logits + 9 * leak)
    is_there = masks_bhw.flatten(1).amax(dim=1)[:, None, None] > 0
    return torch.where(is_there, logits, -10.0)


def _patch(seeds_bhw: Tensor, pixels_b3hw: Tensor, generator: torch.Generator | None) -> Tensor:
    """Membership (0 to 1) in a patch around the seeds of about their colour; 0 where there are no seeds."""
    batch, height, width = seeds_bhw.shape
    device = seeds_bhw.device
    source = device if generator is None else generator.device
    odds = torch.rand(batch, height * width, generator=generator, device=source).to(device)
    odds = odds * seeds_bhw.flatten(1)
    at = odds.argmax(dim=1)
    seed = pixels_b3hw.flatten(2).gather(2, at[:, None, None].expand(-1, 3, 1))[..., None]
    apart = (pixels_b3hw - seed).square().sum(dim=1) / ALIKE**2
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    dy = (y - (at // width)[:, None, None]) / height
    dx = (x - (at % width)[:, None, None]) / width
    far = (dx.square() + dy.square()) / REACH**2
    patch = torch.exp(-apart - far) * seeds_bhw.flatten(1).any(dim=1)[:, None, None]
    return F.avg_pool2d(patch[:, None], 3, 1, 1)[:, 0]
