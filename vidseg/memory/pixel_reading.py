"""Reading labels by pixels: what a remembered frame showed, beside what its keys say. Nothing is learned.

Two reads: what is remembered of the frame before, carried along the optical flow between its pixels and
those of this frame, which is finer than any cell of keys; and how much likelier each pixel's colour is on
the object than about it, by what memories show, which does not drift.

Source: Kroeger et al., "Fast Optical Flow using Dense Inverse Search" (ECCV 2016), by OpenCV; colour ratios
after Bibby and Reid, "Robust Real-Time Visual Tracking using Pixel-Wise Posteriors" (ECCV 2008).

Layouts: R rows (objects) · h w the low-res grid. Pixels are RGB from 0 to 255; masks are from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_SIDE = 32
"""Below this DIS finds no pyramid to work on; such a frame is taken to stand still."""
MISMATCH_RANGE = 64.0
"""A difference of pixels that counts as 1."""
COLOUR_LEVELS = 16
"""Of lightness and of either chroma."""
UNSEEN_SHARE = 1e-4
"""Share of a colour never seen: with none on either side, neither is likelier."""
FAR_WEIGHT = 0.05
"""What surroundings far from the object count for."""


def follow(now_r3hw: Tensor, before_r3hw: Tensor) -> Tensor:
    """Where each pixel was in the frame before: R x h x w x 2 (x, y), from -1 to 1 between borders."""
    return torch.stack([_follow(*pair) for pair in zip(now_r3hw, before_r3hw, strict=True)])


def carry(maps_rchw: Tensor, places_rhw2: Tensor) -> Tensor:
    """Maps of the frame before, moved to where `follow` says.

    Args:
        places_rhw2: of one row if all rows share the frames. Of a finer grid than the maps, a whole number of
            times: each cell goes as its pixels do on average.
    """
    rows, channels, *grid_hw = maps_rchw.shape
    finer = places_rhw2.shape[1] // grid_hw[0]
    if finer > 1:
        places_rhw2 = F.avg_pool2d(places_rhw2.permute(0, 3, 1, 2), finer).permute(0, 2, 3, 1)
    if places_rhw2.shape[0] == rows:
        return _sample(maps_rchw, places_rhw2)
    # Objects side by side, as channels of one picture.
    return _sample(maps_rchw.reshape(1, rows * channels, *grid_hw), places_rhw2).view(maps_rchw.shape)


def mismatch(now_r3hw: Tensor, before_r3hw: Tensor, places_rhw2: Tensor) -> Tensor:
    """How far pixels are from those that they follow: R x 1 x h x w, from 0 to 2, in `MISMATCH_RANGE`s."""
    apart = (_sample(before_r3hw, places_rhw2) - now_r3hw).abs().mean(dim=1, keepdim=True)
    return apart.div(MISMATCH_RANGE).clamp(max=2.0)


def _follow(now_3hw: Tensor, before_3hw: Tensor) -> Tensor:
    height, width = now_3hw.shape[1:]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if min(height, width) >= SMALLEST_SIDE:
        method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        # To the last pixel of this small picture, and no smoothing: the finest motion at half the time.
        method.setFinestScale(0)
        method.setVariationalRefinementIterations(0)
        flow = method.calc(_grey(now_3hw), _grey(before_3hw), None)
        x, y = x + flow[..., 0], y + flow[..., 1]
    places = np.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), axis=-1)
    return torch.from_numpy(places).to(now_3hw)


def _grey(pixels_3hw: Tensor) -> npt.NDArray[np.uint8]:
    rgb = pixels_3hw.detach().permute(1, 2, 0).to(torch.uint8).contiguous().cpu().numpy()
    grey: npt.NDArray[np.uint8] = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return grey


def _sample(maps_rchw: Tensor, places_rhw2: Tensor) -> Tensor:
    return F.grid_sample(maps_rchw, places_rhw2.to(maps_rchw), padding_mode="border", align_corners=False)


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
    levels = (COLOUR_LEVELS,) * 3
    kernel = _smoothing(counts)
    smooth = F.conv3d(counts.view(-1, 1, *levels), kernel, padding=1).view(rows, 2, -1)
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
    return weights.new_zeros(rows, 2, COLOUR_LEVELS**3).scatter_add_(2, bins, weights)


def _near(masks_r1hw: Tensor) -> Tensor:
    """What each pixel tells of an object's surroundings: near ones most, all at least a little."""
    cells = F.avg_pool2d(masks_r1hw, 4)
    side = 2 * (min(cells.shape[-2:]) // 8) + 1
    for _ in range(2):
        cells = F.avg_pool2d(cells, side, 1, side // 2)
    cells = cells / cells.amax(dim=(2, 3), keepdim=True).clamp(min=1e-3) + FAR_WEIGHT
    return F.interpolate(cells, size=masks_r1hw.shape[-2:], mode="nearest")


def _bins(pixels_r3hw: Tensor) -> Tensor:
    """int64 R x h x w: lightness, red against green, yellow against blue."""
    red, green, blue = pixels_r3hw.float().unbind(dim=1)
    parts = ((red + green + blue) / 3, red - green + 128, (red + green) / 2 - blue + 128)
    step = 256 // COLOUR_LEVELS
    lightness, first, second = ((part / step).long().clamp(0, COLOUR_LEVELS - 1) for part in parts)
    return (lightness * COLOUR_LEVELS + first) * COLOUR_LEVELS + second


def _smoothing(like: Tensor) -> Tensor:
    line = torch.tensor([0.25, 0.5, 0.25], device=like.device, dtype=like.dtype)
    return (line[:, None, None] * line[:, None] * line).view(1, 1, 3, 3, 3)
