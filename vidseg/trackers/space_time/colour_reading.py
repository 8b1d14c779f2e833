"""Reads labels by colour: how much likelier a pixel's colour is on the object than near it.

There are two reads, and neither is learned. One uses all colours of the frames that a user prompted, and does
not drift; the other uses the colours that the previous frame showed close by, on either side of the contour.

Source: colour ratios after Bibby and Reid, "Robust Real-Time Visual Tracking using Pixel-Wise Posteriors"
(ECCV 2008); local ones after Bai et al., "Video SnapCut" (SIGGRAPH 2009).

Layouts: R rows (objects) · h w the low-res grid. Pixels are RGB from 0 to 255; masks are from 0 to 1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory.cached import cached, constant
from vidseg.trackers.space_time.small_windows import sums_in_threes

LEVELS = 16, 16, 16
"""How many levels lightness and each of the two chromas are cut into."""
UNSEEN_SHARE = 1e-4
"""Share that a colour never seen is taken to have: if neither side has shown it, neither is likelier."""
FAR_WEIGHT = 0.05
"""Weight of surroundings far from the object."""
NEAR_LEVELS, NEAR_STRETCH = (8, 4, 4), 2
"""Fewer levels for local colours, as few pixels are counted there; chroma is stretched first."""
NEAR_CELL = 8
"""Side of a cell in pixels; local colours are those in a window of 3 x 3 cells."""
NEAR_UNSEEN = 0.02
"""Share of a cell's window that colours never seen there are taken to have, on either side."""


@torch.no_grad()
def by_colour(now_r3hw: Tensor, counts_r2k: Tensor) -> Tensor:
    """How much likelier each pixel's colour is on the object than near it: R x 1 x h x w, from 0 to 1.

    Args:
        now_r3hw: pixels of the frame; one row if all objects share it.
        counts_r2k: of `colour_counts`; those of several remembered frames are added up.
    """
    rows = len(counts_r2k)
    shares = counts_r2k / counts_r2k.sum(dim=2, keepdim=True).clamp(min=1e-6) + UNSEEN_SHARE
    ratios = shares[:, 0] / shares.sum(dim=1)
    bins = _bins(now_r3hw).flatten(1).expand(rows, -1)
    return ratios.gather(1, bins).view(rows, 1, *now_r3hw.shape[-2:])


@torch.no_grad()
def colour_counts(pixels_r3hw: Tensor, masks_r1hw: Tensor) -> Tensor:
    """How often each colour is on the object and on its surroundings, spread to colours beside it: R x 2 x
    colours.

    Args:
        pixels_r3hw: of a remembered frame; one row if all objects share it.
    """
    rows = masks_r1hw.shape[0]
    masks = masks_r1hw.flatten(1).float()
    about = _near(masks_r1hw).flatten(1).float() * (1 - masks)
    weights = torch.stack((masks, about), dim=1)
    bins = _bins(pixels_r3hw).flatten(1)[:, None].expand(rows, 2, -1)
    counts = weights.new_zeros(rows, 2, math.prod(LEVELS)).scatter_add_(2, bins, weights)
    return F.conv3d(counts.view(-1, 1, *LEVELS), _smoothing(counts), padding=1).view(rows, 2, -1)


def _near(masks_r1hw: Tensor) -> Tensor:
    """Weight of each pixel as surroundings: highest next to the object, and a little everywhere."""
    cells = F.avg_pool2d(masks_r1hw, 4)
    side = 2 * (min(cells.shape[-2:]) // 8) + 1
    for _ in range(2):
        cells = F.avg_pool2d(cells, side, 1, side // 2)
    cells = cells / cells.amax(dim=(2, 3), keepdim=True).clamp(min=1e-3) + FAR_WEIGHT
    return F.interpolate(cells, size=masks_r1hw.shape[-2:], mode="nearest")


def _bins(pixels_r3hw: Tensor, levels: tuple[int, int, int] = LEVELS, stretch: int = 1) -> Tensor:
    """The bin of each pixel's colour: int64 R x h x w.

    It is made of lightness, red against green, and yellow against blue. Few colours are saturated.

    Args:
        levels: number of levels of each of the three.
        stretch: factor on both chromas before they are cut into levels.
    """
    red, green, blue = pixels_r3hw.float().unbind(dim=1)
    yellow = red + green
    chromas = red - green, yellow / 2 - blue
    parts = ((yellow + blue) / 3, *(stretch * chroma + 128 for chroma in chromas))
    lightness, *others = (
        (part * (count / 256)).long().clamp_(0, count - 1) for part, count in zip(parts, levels, strict=True)
    )
    bins = lightness
    for of_chroma, count in zip(others, levels[1:], strict=True):
        bins = bins * count + of_chroma
    return bins


def _smoothing(like: Tensor) -> Tensor:
    line = constant((0.25, 0.5, 0.25), like.device).to(like.dtype)
    return (line[:, None, None] * line[:, None] * line).view(1, 1, 3, 3, 3)


@cached(maxsize=16)
def _cells(height: int, width: int, device: torch.device) -> Tensor:
    """The number of the cell that each pixel lies in, row by row: int64 h x w."""
    y, x = (torch.arange(size, device=device) // NEAR_CELL for size in (height, width))
    return y[:, None] * -(-width // NEAR_CELL) + x


@torch.no_grad()
def by_near_colour(now_r3hw: Tensor, before: tuple[Tensor, Tensor], places_rhw2: Tensor) -> Tensor:
    """Like `by_colour`, but compares each pixel with the colours seen near its place in the previous frame.

    Args:
        now_r3hw: pixels of the frame; one row if all objects share the frames, as has `places_rhw2`.
        before: pixels and masks (R x 1 x h x w) of the previous frame.
        places_rhw2: where each pixel was in the previous frame, as `follow` says.
    """
    pixels, masks = before
    rows, _, height, width = masks.shape
    grid_h, grid_w = -(-height // NEAR_CELL), -(-width // NEAR_CELL)
    bins = _bins(pixels, NEAR_LEVELS, NEAR_STRETCH)
    levels = math.prod(NEAR_LEVELS)
    cells = _cells(height, width, masks.device)
    at = (bins * (grid_h * grid_w) + cells).flatten(1)[:, None].expand(rows, 2, -1)
    weights = torch.cat((masks, 1 - masks), dim=1).flatten(2).float()
    counts = weights.new_zeros(rows, 2, levels * grid_h * grid_w).scatter_add_(2, at, weights)
    counts = counts.view(rows, 2 * levels, grid_h, grid_w) / NEAR_CELL**2
    seen = sums_in_threes(counts).div_(9).view(rows, 2, levels, grid_h * grid_w)
    totals = seen.sum(dim=2)

    size = constant((grid_w, grid_h), masks.device)
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
