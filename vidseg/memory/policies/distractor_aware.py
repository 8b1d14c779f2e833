"""Distractor-aware memory: recent frames at intervals, and anchors that tell the object from its like.

Source: Videnovic et al., "A Distractor-Aware Memory for Visual Object Tracking with SAM2" (DAM4SAM),
CVPR 2025, section 3. Its two memories share SAM 2's slots: the *recent appearance memory* holds the frame
before and every fifth one, of visible frames alone; the *distractor resolving memory* holds the initial frame
and up to three anchors, frames on which the mask was trusted though the decoder saw something else as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from vidseg.masks import box_iou
from vidseg.memory.bank import (
    CONDITIONING_SLOT,
    Branch,
    MemoryFrame,
    Moment,
    ObjectBank,
    Offer,
    Recall,
    RecentFrames,
)
from vidseg.memory.policies.boxes import BoolArray, box_of, largest_region
from vidseg.memory.policies.eviction import keep_only


@dataclass(frozen=True)
class DistractorAware(RecentFrames):
    """SAM 2's policy with a stride, without frames on which the object is not seen, and with anchors.

    It notes: "anchors" and "unseen", which are frame indices; "areas", the last (frame, area in low-res
    pixels) pairs; "last_anchor", the frame of the last anchor or prompt.
    """

    stride: Annotated[int, Field(ge=1)] = 5
    max_anchors: Annotated[int, Field(ge=1)] = 4
    """How many anchors and conditioning frames are read together."""
    min_anchor_iou: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Predicted IoU above which a mask is trusted enough to become an anchor."""
    max_area_change: Annotated[float, Field(gt=0)] = 0.2
    """A frame can become an anchor only if its area differs from the median of the last visible ones by no
    more than this share of the median."""
    area_frames: Annotated[int, Field(ge=1)] = 10
    """How many visible frames, the last ones, that median is taken over."""
    area_horizon: Annotated[int, Field(ge=1)] = 300
    """How many frames back those visible frames may lie."""
    anchor_interval: Annotated[int, Field(ge=0)] = 5
    """Two anchors lie more than this many frames apart."""
    max_alternative_iou: Annotated[float, Field(ge=0, le=1)] = 0.7
    """An alternative candidate shows another thing if the IoU of its box with the chosen one's is at most
    this."""

    def recall(self, bank: ObjectBank, moment: Moment) -> Recall:
        recent = RecentFrames.recall(self, bank, moment)
        conditioning = [entry for entry in recent.spatial if entry[0] == CONDITIONING_SLOT]
        anchors = self._anchors(bank, moment)[: max(0, self.max_anchors - len(conditioning))]
        room = max(1, self.recent_frames + 1 - len(conditioning) - len(anchors))
        frames = self._seen_frames(bank, moment)[:room]
        unseen = bank.notes.get("unseen", ())
        spatial = conditioning + [(CONDITIONING_SLOT, frame) for frame in reversed(anchors)]
        spatial += [(slot, frame) for slot, frame in reversed(list(enumerate(frames)))]
        pointers = [entry for entry in recent.pointers if entry[1].frame_idx not in unseen]
        return replace(recent, spatial=spatial, pointers=pointers)

    def evict(self, bank: ObjectBank, moment: Moment) -> None:
        coming = replace(moment, frame_idx=moment.frame_idx + (-1 if moment.reverse else 1))
        read = {moment.frame_idx}
        for each in (moment, coming):
            read |= {frame.frame_idx for frame in self._anchors(bank, each)[: self.max_anchors]}
            read |= {frame.frame_idx for frame in self._seen_frames(bank, each)[: self.recent_frames + 1]}
        anchors = bank.notes.get("anchors", [])
        read |= set(anchors[-1:])  # the newest is not read on the next frame, but after it
        keep_only(bank, read, moment, self.max_pointers)
        self._evict_conditioning(bank, moment)

    def decide(self, bank: ObjectBank, moment: Moment, offers: Sequence[Offer]) -> list[Branch]:
        (offer,) = offers
        notes, now = bank.notes, moment.frame_idx
        chosen = offer.best
        masks = (offer.logits_khw > 0).cpu().numpy()
        area = int(masks[chosen].sum()) if offer.object_score_logit > 0 else 0
        areas = [[t, a] for t, a in notes.get("areas", ()) if abs(now - t) <= self.area_horizon]
        unseen = [t for t in notes.get("unseen", ()) if t in bank.tracked and t != now]
        anchors = [t for t in notes.get("anchors", ()) if t in bank.tracked and t != now]
        last_anchor = notes.get("last_anchor")
        if not area:
            unseen.append(now)
        else:
            areas = [*areas, [now, area]][-self.area_frames :]
            typical = float(np.median([a for _, a in areas]))
            is_steady = abs(area / typical - 1) <= self.max_area_change
            is_due = last_anchor is None or abs(now - last_anchor) > self.anchor_interval
            is_trusted = offer.predicted_ious[chosen] > self.min_anchor_iou
            if is_trusted and is_steady and is_due and self._sees_another(masks, chosen):
                anchors, last_anchor = [*anchors, now][-self.max_anchors - 1 :], now
        new_notes = {"areas": areas, "unseen": unseen, "anchors": anchors, "last_anchor": last_anchor}
        return [Branch(0, chosen, new_notes)]

    def note_prompt(self, bank: ObjectBank, memory: MemoryFrame) -> None:
        unseen = [t for t in bank.notes.get("unseen", ()) if t != memory.frame_idx]
        bank.note({**bank.notes, "unseen": unseen, "last_anchor": memory.frame_idx})

    def _anchors(self, bank: ObjectBank, moment: Moment) -> list[MemoryFrame]:
        """Anchors, the nearest in the past first, without the frame before, which is read as a recent one."""
        known = [bank.tracked[t] for t in bank.notes.get("anchors", ()) if t in bank.tracked]
        past = [frame for frame in known if moment.frames_back(frame.frame_idx) > 1]
        return sorted(past, key=lambda frame: moment.frames_back(frame.frame_idx))

    def _seen_frames(self, bank: ObjectBank, moment: Moment) -> list[MemoryFrame]:
        """Frames that show the object, newest first: the frame before, then multiples of the stride."""
        behind = [frame for t, frame in bank.tracked.items() if moment.frames_back(t) > 0]
        behind.sort(key=lambda frame: moment.frames_back(frame.frame_idx))
        in_turn = [f for k, f in enumerate(behind) if k == 0 or f.frame_idx % self.stride == 0]
        unseen = bank.notes.get("unseen", ())
        return [f for f in in_turn if f.frame_idx not in unseen and f.tokens_nc is not None]

    def _sees_another(self, masks_khw: BoolArray, chosen: int) -> bool:
        """Whether an alternative shows something outside the chosen mask that would widen its box by much."""
        mask = masks_khw[chosen]
        box = box_of(mask)
        for k, alternative in enumerate(masks_khw):
            if k != chosen and box is not None:
                wider = box_of(mask | largest_region(alternative & ~mask))
                if wider is not None and box_iou(box, wider) <= self.max_alternative_iou:
                    return True
        return False
