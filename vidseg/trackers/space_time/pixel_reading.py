"""Reads labels by motion: what is remembered of the previous frame is carried along the optical flow.

Nothing is learned. Flow between the pixels of two frames is finer than any cell of keys.

Source: Kroeger et al., "Fast Optical Flow using Dense Inverse Search" (ECCV 2016), by OpenCV.

Layouts: R rows (objects) · h w the low-res grid. Pixels are RGB from 0 to 255; masks are from 0 to 1; places
are where pixels were in the previous frame, x and y from -1 to 1 between borders.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.memory.cached import cached, constant
from vidseg.trackers.carrying.motion import flow_to_previous
from vidseg.trackers.device import download, upload
from vidseg.trackers.space_time.small_windows import maxima_in_threes

MISMATCH_RANGE = 64.0
"""Difference of pixel values that counts as a mismatch of 1."""
CELL = 4
"""Side, in pixels, of the cells over which motions are averaged; windows are made of such cells."""
FLOW_NOISE_PX = 0.3
"""Standard deviation of the flow's own error."""
UNSEEN = 1e-6
"""A side that fills less than this share of the frame counts as not there, and has no motion."""
FEW = 0.02
"""The mean of a window counts for more than that of the whole side once this share of it is of that side."""


def follow(now_r3hw: Tensor, before_r3hw: Tensor) -> Tensor:
    """Where each pixel was in the previous frame: R x h x w x 2 (x, y), from -1 to 1 between borders."""
    return torch.stack([_follow(*pair) for pair in zip(now_r3hw, before_r3hw, strict=True)])


def carry(maps_rchw: Tensor, places_rhw2: Tensor) -> Tensor:
    """Maps of the previous frame, moved to where their pixels are now.

    Args:
        places_rhw2: of `follow`; one row if all objects share the frames.
    """
    rows, channels, *size_hw = maps_rchw.shape
    if places_rhw2.shape[0] == rows:
        return _sample(maps_rchw, places_rhw2)
    # All objects are sampled at once, as channels of one picture.
    return _sample(maps_rchw.reshape(1, rows * channels, *size_hw), places_rhw2).view(maps_rchw.shape)


def mismatch(now_r3hw: Tensor, before_r3hw: Tensor, places_rhw2: Tensor) -> Tensor:
    """How far pixels are from those that they follow: R x 1 x h x w, from 0 to 2, in units of
    `MISMATCH_RANGE`."""
    apart = (_sample(before_r3hw, places_rhw2) - now_r3hw).abs().mean(dim=1, keepdim=True)
    return apart.div(MISMATCH_RANGE).clamp(max=2.0)


def _follow(now_3hw: Tensor, before_3hw: Tensor) -> Tensor:
    height, width = now_3hw.shape[1:]
    flow = flow_between(now_3hw, before_3hw)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    places = np.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), axis=-1)
    return upload(places, now_3hw.device)


def flow_between(now_3hw: Tensor, before_3hw: Tensor) -> npt.NDArray[np.float32]:
    """The optical flow from the pixels of a frame to those of the one before: h x w x 2 (x, y), in pixels."""
    return flow_to_previous(*_grey(now_3hw, before_3hw), finest=True)


def _grey(*pictures_3hw: Tensor) -> list[npt.NDArray[np.uint8]]:
    rgb = [pixels.detach().permute(1, 2, 0).to(torch.uint8).contiguous() for pixels in pictures_3hw]
    return [cv2.cvtColor(picture.numpy(), cv2.COLOR_RGB2GRAY) for picture in download(rgb)]


def _sample(maps_rchw: Tensor, places_rhw2: Tensor) -> Tensor:
    return F.grid_sample(maps_rchw, places_rhw2.to(maps_rchw), padding_mode="border", align_corners=False)


@torch.no_grad()
def by_motion(masks_r1hw: Tensor, places_rhw2: Tensor) -> Tensor:
    """How far each pixel moves with the object near it rather than with its surroundings: R x 1 x h x w.

    Values are from -1 to 1; 0 where both sides move alike, or wildly. Both motions are Gaussians about local
    means, of one variance: the flow's own error and the spread of the calmer side.

    Args:
        masks_r1hw: masks carried to this frame.
        places_rhw2: of `follow`; one row if all objects share the frames.
    """
    height, width = masks_r1hw.shape[-2:]
    moved = places_rhw2.to(masks_r1hw) - _still(height, width, masks_r1hw.device, masks_r1hw.dtype)
    moved = moved * constant((width / 2, height / 2), masks_r1hw.device)
    flow = moved.permute(0, 3, 1, 2)
    square = flow.square().sum(dim=1, keepdim=True)
    # Only the parts that are surely on a side count, away from the contour.
    wide = maxima_in_threes(masks_r1hw)
    distances, spreads, seen = [], [], []
    for weight in ((2 * masks_r1hw - 1).clamp(0, 1), (1 - 2 * wide).clamp(0, 1)):
        sums = torch.cat((weight, flow * weight, square * weight), dim=1)
        cells = F.avg_pool2d(sums, CELL, ceil_mode=True)
        overall = cells.mean(dim=(2, 3), keepdim=True)
        seen.append(overall[:, :1])
        overall = overall / overall[:, :1].clamp(min=UNSEEN)
        side = 2 * (min(cells.shape[-2:]) // 8) + 1
        local = F.avg_pool2d(cells, side, 1, side // 2) + FEW * overall
        mean, mean_square = (local[:, 1:] / local[:, :1].clamp(min=UNSEEN)).split((2, 1), dim=1)
        spread = (mean_square - mean.square().sum(dim=1, keepdim=True)).clamp(min=0)
        both = F.interpolate(torch.cat((mean, spread), dim=1), size=(height, width), mode="bilinear")
        distances.append((flow - both[:, :2]).square().sum(dim=1, keepdim=True))
        spreads.append(both[:, 2:])
    variance = FLOW_NOISE_PX**2 + torch.minimum(*spreads) / 2
    # The tanh of half a log-likelihood ratio is a difference of probabilities.
    evidence = ((distances[1] - distances[0]) / (4 * variance)).tanh()
    return evidence * (torch.minimum(*seen) > UNSEEN)


@cached(maxsize=16)
def _still(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The places of pixels that have not moved: h x w x 2."""
    x = (2 * torch.arange(width, device=device, dtype=dtype) + 1) / width - 1
    y = (2 * torch.arange(height, device=device, dtype=dtype) + 1) / height - 1
    return torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=-1)
