"""The grid sampler: a point in every tile of the picture, and of its crops; SAM's own way.

Source: `SamAutomaticMaskGenerator` (segment_anything/automatic_mask_generator.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from vidseg.samplers.asking import Asking
from vidseg.samplers.nms import kept_by_nms
from vidseg.samplers.points import Crop, crop_layer, grid_points
from vidseg.samplers.proposals import Proposal, boxes_of, scores_of
from vidseg.samplers.settings import Count, PointSettings, Share
from vidseg.samplers.small_regions import without_small_regions

if TYPE_CHECKING:
    import numpy.typing as npt

EDGE_PX = 20
"""A mask whose box comes closer than this to the edge of a crop is thought to be cut there, and dropped."""


@dataclass(frozen=True, kw_only=True)
class GridSettings(PointSettings):
    """Settings of the sampler `grid`; names and defaults are SAM's."""

    crop_n_layers: Annotated[int, Field(ge=0, le=5)] = 0
    """Layers of crops besides the whole picture: layer n has 2^n x 2^n crops, each encoded anew."""
    crop_nms_thresh: Share = 0.7
    """Masks from different crops whose boxes have an IoU above this are one thing, and the one from the
    smaller crop stays."""
    crop_overlap_ratio: Share = 512 / 1500
    """How far neighbouring crops overlap, as a share of the picture's short side."""
    crop_n_points_downscale_factor: Count = 1
    """The grid of layer n has this to the power of n times fewer points along each side."""


def grid(asking: Asking, settings: GridSettings) -> list[Proposal]:
    """The masks at a regular grid of points."""
    proposals: list[Proposal] = []
    for layer in range(settings.crop_n_layers + 1):
        for crop in crop_layer(asking.size_hw, layer, settings.crop_overlap_ratio):
            proposals += _of_crop(asking, crop, layer, settings)
    if settings.crop_n_layers:
        whole = Crop(0, 0, asking.size_hw[1], asking.size_hw[0])
        areas = [np.prod((p.crop or whole).size_hw) for p in proposals]
        smaller_first = 1 / np.array(areas, np.float32)
        kept = kept_by_nms(boxes_of(proposals), smaller_first, settings.crop_nms_thresh)
        proposals = [proposals[place] for place in kept]
    if settings.min_mask_region_area:
        max_iou = max(settings.box_nms_thresh, settings.crop_nms_thresh)
        return without_small_regions(proposals, asking.size_hw, settings.min_mask_region_area, max_iou)
    return proposals


def without_overlaps(proposals: Sequence[Proposal], max_iou: float) -> list[Proposal]:
    """The proposals, best first, without those whose box overlaps a better one's too much."""
    kept = kept_by_nms(boxes_of(proposals), scores_of(proposals), max_iou)
    return [proposals[place] for place in kept]


def _of_crop(asking: Asking, crop: Crop, layer: int, settings: GridSettings) -> list[Proposal]:
    per_side = settings.points_per_side // settings.crop_n_points_downscale_factor**layer
    points = grid_points(per_side, crop.size_hw)
    if layer == 0:
        return without_overlaps(asking.points(points, settings), settings.box_nms_thresh)
    part = asking.crop(crop)
    moved = [proposal.from_crop(crop) for proposal in part.points(points, settings)]
    asking.num_asked += part.num_asked
    is_cut = _cut_by(crop, boxes_of(moved), asking.size_hw)
    whole = [proposal for proposal, cut in zip(moved, is_cut, strict=True) if not cut]
    return without_overlaps(whole, settings.box_nms_thresh)


def _cut_by(crop: Crop, boxes: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which boxes come close to an edge of the crop that is no edge of the picture."""
    near_crop = np.abs(boxes - np.array(crop)) <= EDGE_PX
    near_picture = np.abs(boxes - np.array((0, 0, size_hw[1], size_hw[0]))) <= EDGE_PX
    return (near_crop & ~near_picture).any(axis=1)
