"""Removes small holes and islands from masks.

Source: SAM's `remove_small_regions` and `postprocess_small_regions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vidseg.samplers.nms import kept_by_nms
from vidseg.samplers.proposals import CutMask, Proposal, boxes_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]


def without_small_regions(
    proposals: Sequence[Proposal], size_hw: tuple[int, int], min_area: int, max_iou: float
) -> list[Proposal]:
    """Proposals without small holes and islands; boxes may overlap now, so another suppression follows.

    Of masks that overlap too much, those that needed no change stay; they come first in the result.
    """
    cleaned: list[Proposal] = []
    untouched: list[bool] = []
    for proposal in proposals:
        mask, had_holes = _without_holes(proposal.mask.whole(size_hw), min_area)
        mask, had_islands = _without_islands(mask, min_area)
        untouched.append(not (had_holes or had_islands))
        cleaned.append(proposal if untouched[-1] else replace(proposal, mask=CutMask(mask)))
    kept = kept_by_nms(boxes_of(cleaned), np.array(untouched, np.float32), max_iou)
    return [cleaned[place] for place in kept]


def _without_holes(mask: Mask, min_area: int) -> tuple[Mask, bool]:
    """The mask, and whether there was a small hole."""
    regions, areas = _regions(~mask)
    small = np.flatnonzero(areas < min_area) + 1
    return mask | np.isin(regions, small), len(small) > 0


def _without_islands(mask: Mask, min_area: int) -> tuple[Mask, bool]:
    """The mask, and whether there was a small island; one that is small islands only keeps its largest."""
    regions, areas = _regions(mask)
    large = np.flatnonzero(areas >= min_area) + 1
    if len(large) == len(areas):
        return mask, False
    return np.isin(regions, large if len(large) else areas.argmax() + 1), True


def _regions(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """8-connected regions, numbered from 1, and their areas in pixels."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return regions, stats[1:, cv2.CC_STAT_AREA]
