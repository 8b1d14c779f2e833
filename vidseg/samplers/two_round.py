"""The two-round sampler: a coarse grid first, then the dense points that no sure mask has explained.

Source: TinySAM, section 3.4, and `SamHierarchicalMaskGenerator` (tinysam/hierarchical_mask_generator.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from vidseg.samplers.asking import Asking
from vidseg.samplers.grid import without_overlaps
from vidseg.samplers.points import grid_points, points_around
from vidseg.samplers.proposals import Proposal
from vidseg.samplers.settings import PointSettings, Share
from vidseg.samplers.small_regions import without_small_regions

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

TILE = 4
"""A coarse point stands for this many dense points along each side."""


@dataclass(frozen=True, kw_only=True)
class TwoRoundSettings(PointSettings):
    """Settings of the sampler `two-round`; names and defaults are TinySAM's."""

    points_per_side: Annotated[int, Field(ge=TILE)] = 32
    """Points of the dense grid along each side; the first round asks a quarter as many."""
    high_score_thresh: float = 8.5
    """The second round asks no pixel at which a kept mask of the first one has a logit above this."""
    tile_iou_thresh: Share = 0.0
    """The second round leaves out the tile of a coarse point of which no kept mask predicts an IoU above
    this, as the tile is likely to be background. 0, as in TinySAM, leaves out none."""


def two_round(asking: Asking, settings: TwoRoundSettings) -> list[Proposal]:
    """The masks at a coarse grid of points, and at dense points outside of what it is sure of."""
    done = np.zeros(asking.size_hw, bool)

    def explain(logits_mhw: Tensor) -> None:
        done[:] |= (logits_mhw > settings.high_score_thresh).any(0).cpu().numpy()

    coarse_xy = grid_points(settings.points_per_side // TILE, asking.size_hw)
    coarse = asking.points(coarse_xy, settings, explain)
    tiles_xy = _promising(asking, coarse_xy, coarse, settings.tile_iou_thresh)
    dense_xy = points_around(tiles_xy, asking.size_hw, settings.points_per_side)
    x, y = dense_xy.astype(int).T
    dense = asking.points(dense_xy[~done[y, x]], settings)
    # TinySAM puts the second round first, so of equal predicted IoUs its masks win.
    proposals = without_overlaps([*dense, *coarse], settings.box_nms_thresh)
    if settings.min_mask_region_area:
        return without_small_regions(
            proposals, asking.size_hw, settings.min_mask_region_area, settings.box_nms_thresh
        )
    return proposals


def _promising(
    asking: Asking, coarse_xy: npt.NDArray[np.float64], coarse: Sequence[Proposal], least_iou: float
) -> npt.NDArray[np.float64]:
    """The coarse points, N x 2, that have a good mask, and those of which nothing is known as they were
    skipped."""
    if not least_iou:
        return coarse_xy
    good = {proposal.point_xy for proposal in coarse if proposal.predicted_iou > least_iou}
    asked = {(x, y) for x, y in asking.to_ask(coarse_xy).tolist()}
    is_promising = [(x, y) in good or (x, y) not in asked for x, y in coarse_xy.tolist()]
    return coarse_xy[is_promising]
