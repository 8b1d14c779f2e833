"""Finds objects by a sampler: an image model is asked prompts all over the frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vidseg.masks import iou
from vidseg.samplers import PromptedPicture, everything
from vidseg.samplers.asking import Asking
from vidseg.samplers.table import settings_of
from vidseg.trackers.contract import Frame, Session
from vidseg.trackers.discovery.comparing import SAME_IOU, innermost_xy, is_known
from vidseg.trackers.discovery.finding import New
from vidseg.trackers.discovery.looking import Look
from vidseg.trackers.discovery.settings import DiscoverySettings

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]


DEFAULTS = {"points_per_side": 16}
"""Fewer points than on pictures: what one look misses, a later one may find."""


class SamplerFinder:
    """See `vidseg.trackers.discovery.finding.Finder`. Pixels that are tracked already are not asked."""

    def __init__(self, look: Look, settings: DiscoverySettings) -> None:
        self.settings = settings
        self._look = look
        self.num_asked = 0

    def new(
        self,
        session: Session,
        frame: Frame,
        masks: Mapping[int, Mask],
        labels: Mapping[int, str],
        room: int,
    ) -> list[New]:
        known = list(masks.values())
        skip = np.logical_or.reduce(known) if known else None
        picture, settings = self._look.at(session, frame), self.settings
        found, asked = everything(
            picture, settings.sampler, settings.sampling, defaults=DEFAULTS | self._look.sampling, skip=skip
        )
        self.num_asked += asked
        new: list[New] = []
        for one in found:
            if len(new) < room and self._is_new(one.mask, known):
                new.append(New(mask=one.mask))
                known.append(one.mask)
        return new

    def seen_again(
        self,
        session: Session,
        frame: Frame,
        masks: Mapping[int, Mask],
        labels: Mapping[int, str],
        obj_ids: list[int],
    ) -> set[int]:
        picture = self._look.at(session, frame)
        return {
            obj_id
            for obj_id in obj_ids
            if obj_id in masks
            and any(
                iou(masks[obj_id], other, if_both_empty=0) > SAME_IOU
                for other in self._asked_at(picture, masks[obj_id])
            )
        }

    def _asked_at(self, picture: PromptedPicture, mask: Mask) -> list[Mask]:
        # The object was found by good scores before; now the places of the two answers must agree.
        settings = settings_of("grid", {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0})
        asking = Asking(picture)
        proposals = asking.points(np.array([innermost_xy(mask)]), settings)
        self.num_asked += asking.num_asked
        return [proposal.mask.whole(picture.size_hw) for proposal in proposals]

    def _is_new(self, mask: Mask, known: list[Mask]) -> bool:
        area, pixels = int(np.count_nonzero(mask)), mask.size
        least = self.settings.min_area or max(1, pixels // 1000)
        if not least <= area <= self.settings.max_share * pixels:
            return False
        limits = self.settings
        return not is_known(mask, known, max_iou=limits.known_iou, max_inside=limits.known_inside)
