"""The box sampler: one mask for each box that a detector drew.

Source: MobileSAMv2 (Zhang et al., "MobileSAMv2: Faster Segment Anything to Everything").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from vidseg.errors import ConfigError
from vidseg.samplers.asking import Asking
from vidseg.samplers.nms import kept_by_nms
from vidseg.samplers.proposals import Proposal
from vidseg.samplers.settings import Count, PointSettings, Share
from vidseg.samplers.small_regions import without_small_regions

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class BoxSettings(PointSettings):
    """Settings of the sampler `boxes`; defaults are MobileSAMv2's. The settings of points have no effect."""

    boxes: Any = None
    """N x 4 boxes (x0, y0, x1, y1) in pixels of the picture."""
    scores: Any = None
    """The N scores of the boxes; None: all are equally sure, and none is dropped for its score."""
    box_score_thresh: Share = 0.4
    """Boxes whose score is below this are dropped."""
    box_nms_thresh: Share = 0.9
    """Boxes with an IoU above this are one thing, and the one with the highest score stays."""
    points_per_batch: Count = 320
    """The decoder answers at most this many boxes at once."""
    min_mask_region_area: Annotated[int, Field(ge=0)] = 0
    """See `PointSettings`."""


def boxes(asking: Asking, settings: BoxSettings) -> list[Proposal]:
    """The masks in the boxes, the largest first."""
    prompts, places = _checked(settings)
    cut, stay = inside(prompts, asking.size_hw)
    kept = [
        replace(proposal, box_place=int(place))
        for proposal, place in zip(asking.boxes(cut, settings), places[stay], strict=True)
    ]
    if settings.min_mask_region_area:
        kept = without_small_regions(kept, asking.size_hw, settings.min_mask_region_area, 1.0)
    areas = [int(proposal.mask.whole(asking.size_hw).sum()) for proposal in kept]
    return [kept[place] for place in np.argsort(areas, kind="stable")[::-1]]


def _checked(settings: BoxSettings) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The boxes to ask, best score first, and their places among those of the settings."""
    hint = "boxes= is N x 4 (x0, y0, x1, y1) in pixels, scores= is N numbers"
    if settings.boxes is None:
        raise ConfigError("the sampler 'boxes' was given no boxes", hint=hint)
    try:
        prompts = np.asarray(settings.boxes, float).reshape(-1, 4)
        scores = np.ones(len(prompts)) if settings.scores is None else np.asarray(settings.scores, float)
    except (TypeError, ValueError):
        raise ConfigError("the boxes are no N x 4 numbers", hint=hint) from None
    if not (np.isfinite(prompts).all() and np.isfinite(scores).all()):
        raise ConfigError("a box or a score is not finite", hint=hint)
    if (reversed_ones := np.flatnonzero((prompts[:, 2:] < prompts[:, :2]).any(axis=1))).size:
        place = int(reversed_ones[0])
        raise ConfigError(f"box {place} ends before it starts: {prompts[place].tolist()}", hint=hint)
    if scores.shape != (len(prompts),):
        raise ConfigError(f"{len(prompts)} boxes with scores of shape {scores.shape}", hint=hint)
    sure = np.flatnonzero(scores >= settings.box_score_thresh)
    places = sure[kept_by_nms(prompts[sure], scores[sure], settings.box_nms_thresh)]
    return prompts[places], places


def inside(
    prompts: npt.NDArray[np.float64], size_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The boxes, cut at the picture's edges, without those that have no area there; and which they are."""
    width_height = np.array([size_hw[1], size_hw[0]] * 2)
    cut = np.clip(prompts, 0, width_height)
    stay = np.flatnonzero((cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1]))
    return cut[stay], stay
