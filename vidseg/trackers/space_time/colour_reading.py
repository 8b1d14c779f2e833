"""Reading labels by colour: how much likelier a pixel's colour is on the object than about it.

Two reads, and nothing is learned: by all colours of the frames that a user prompted, which does not drift;
and by the colours that the frame before showed close by, on either side of the contour.

Source: colour ratios after Bibby and Reid, "Robust Real-Time Visual Tracking using Pixel-Wise Posteriors"
(ECCV 2008); local ones after Bai et al., "Video SnapCut" (SIGGRAPH 2009).

Layouts: R rows (objects) · h w the low-res grid. Pixels are RGB from 0 to 255; masks are from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 16, 16, 16
"""Of lightness and of either chroma."""
UNSEEN_SHARE = 1e-4
"""Share of a colour never seen: with none on either side, neither is likelier."""
FAR_WEIGHT = 0.05
"""What surroundings far from the object count for."""
NEAR_LEVELS, NEAR_STRETCH = (8, 4, 4), 2
"""Where few pixels are counted."""
NEAR_CELL = 8
"""Close by is within a window of 3 x 3 cells of so many pixels."""
NEAR_UNSEEN = 0.02
"""Share of a cell's window: what colours that were never seen there are taken for, on either side."""


@torch.no_grad()
def by_colour(now_r3hw: Tensor, memories: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """How much likelier each pixel's colour is on the object than near it: R x 1 x h x w, from 0 to 1.

    Args:
        now_r3hw: pixels; of one row if all rows share the frame.
        memories: (pixels, masks R x 1 x h x w) of each remembered frame; together they are one count.
    """
    rows = memories[0][1].shape[0]
    counts = sum(_count(pixels, masks) for pixels, masks in memories)
    assert isinstance(counts, Tensor)
    kernel = _smoothing(counts)
    smooth = F.conv3d(counts.view(-1, 1, *LEVELS), kernel, padding=1).view(rows, 2, -1)
    shares = smooth / smooth.sum(dim=2, keepdim=True).clamp(min=1e-6) + UNSEEN_SHARE
    ratios = shares[:, 0] / shares.sum(dim=1)
    bins = _bins(now_r3hw).flatten(1).expand(rows, -1)
    return ratios.gather(1, bins).view(rows, 1, *now_r3hw.shape[-2:])


def _count(pixels_r3hw: Tensor, masks_r1hw: Tensor) -> Tensor:
    """R x 2 x colours: the object's pixels, and those about it."""
    rows = masks_r1hw.shape[0]
    masks = masks_r1hw.flatten(1).float()
    about = _near(masks_r1hw).flatten(1).float() * (1 - masks)
    weights = torch.stack((masks, about), dim=1)
    bins = _bins(pixels_r3hw).flatten(1)[:, None].expand(rows, 2, -1)
    return weights.new_zeros(rows, 2, math.prod(LEVELS)).scatter_add_(2, bins, weights)


def _near(masks_r1hw: Tensor) -> Tensor:
    """What each pixel tells of an object's surroundings: near ones most, all at least a little."""
    cells = F.avg_pool2d(masks_r1hw, 4)
    side = 2 * (min(cells.shape[-2:]) // 8) + 1
    for _ in range(2):
        cells = F.avg_pool2d(cells, side, 1, side // 2)
    cells = cells / cells.amax(dim=(2, 3), keepdim=True).clamp(min=1e-3) + FAR_WEIGHT
    return F.interpolate(cells, size=masks_r1hw.shape[-2:], mode="nearest")


def _bins(pixels_r3hw: Tensor, levels: tuple[int, int, int] = LEVELS, stretch: int = 1) -> Tensor:
    """int64 R x h x w: lightness, red against green, yellow against blue; few colours are saturated.

    Args:
        levels: of each of the three.
        stretch: by how much either chroma is multiplied before it is cut into levels.
    """
    red, green, blue = pixels_r3hw.float().unbind(dim=1)
    chromas = red - green, (red + green) / 2 - blue
    parts = ((red + green + blue) / 3, *(stretch * chroma + 128 for chroma in chromas))
    bins = torch.zeros_like(red, dtype=torch.long)
    for part, count in zip(parts, levels, strict=True):
        bins = bins * count + (part * (count / 256)).long().clamp(0, count - 1)
    return bins


def _smoothing(like: Tensor) -> Tensor:
    line = torch.tensor([0.25, 0.5, 0.25], device=like.device, dtype=like.dtype)
    return (line[:, None, None] * line[:, None] * line).view(1, 1, 3, 3, 3)


@torch.no_grad()
def by_near_colour(now_r3hw: Tensor, before: tuple[Tensor, Tensor], places_rhw2: Tensor) -> Tensor:
    """As `by_colour`, by what the frame before showed close to where each pixel was: R x 1 x h x w.

    Args:
        now_r3hw: pixels; of one row if all rows share the frames, as `places_rhw2` is.
        before: (pixels, masks R x 1 x h x w) of the frame before.
        places_rhw2: where pixels were, as `follow` gives it.
    """
    pixels, masks = before
    rows, _, height, width = masks.shape
    grid_h, grid_w = -(-height // NEAR_CELL), -(-width // NEAR_CELL)
    bins = _bins(pixels, NEAR_LEVELS, NEAR_STRETCH)
    levels = math.prod(NEAR_LEVELS)
    y, x = (torch.arange(size, device=masks.device) // NEAR_CELL for size in (height, width))
    cells = y[:, None] * grid_w + x
    at = (bins * (grid_h * grid_w) + cells).flatten(1)[:, None].expand(rows, 2, -1)
    weights = torch.cat((masks, 1 - masks), dim=1).flatten(2).float()
    counts = weights.new_zeros(rows, 2, levels * grid_h * grid_w).scatter_add_(2, at, weights)
    counts = counts.view(rows, 2 * levels, grid_h, grid_w) / NEAR_CELL**2
    seen = F.avg_pool2d(counts, 3, 1, 1).view(rows, 2, levels, grid_h * grid_w)
    totals = seen.sum(dim=2)

    size = torch.tensor([grid_w, grid_h], device=masks.device)
    column, row = ((places_rhw2 + 1) / 2 * size).long().unbind(dim=-1)
    where = (row.clamp(0, grid_h - 1) * grid_w + column.clamp(0, grid_w - 1)).flatten(1)
    bins = _bins(now_r3hw, NEAR_LEVELS, NEAR_STRETCH).flatten(1)
    index = (bins * (grid_h * grid_w) + where)[:, None].expand(rows, 2, -1)
    found = seen.flatten(2).gather(2, index)
    # A side that was not seen here has no colours of its own: its ratio is that of what was seen.
    shares = (found + NEAR_UNSEEN / levels) / (
        totals.gather(2, where[:, None].expand(rows, 2, -1)) + NEAR_UNSEEN
    )
    return (shares[:, 0] / shares.sum(dim=1)).view(rows, 1, height, width)
