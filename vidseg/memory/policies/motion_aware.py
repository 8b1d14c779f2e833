"""Motion-aware memory: a mask must fit the object's motion, and only good frames are remembered.

Source: Yang et al., "SAMURAI: Adapting Segment Anything Model for Zero-Shot Visual Tracking with Motion-Aware
Memory", 2024: section 4.1 (motion modelling), section 4.2 (memory selection). The filter is that of SORT and
DeepSORT, with a constant velocity. The paper's thresholds and weights are the fields' defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from vidseg.masks import box_iou
from vidseg.memory.bank import Branch, MemoryFrame, Moment, ObjectBank, Offer
from vidseg.memory.policies.accepted_frames import AcceptedFrames
from vidseg.memory.policies.box_filter import BoxFilter
from vidseg.memory.policies.boxes import box_of


@dataclass(frozen=True)
class MotionAware(AcceptedFrames):
    """A Kalman filter predicts each object's box; it helps to choose candidates and the memories that are
    read.

    The score of a candidate is `motion_weight` times the IoU of its box with the predicted box, plus the rest
    times its predicted IoU. Motion counts only once the object has been followed well for `warm_up` frames.
    """

    motion_weight: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Weight of motion in a candidate's score; the rest is that of the predicted IoU."""
    warm_up: Annotated[int, Field(ge=1)] = 15
    """How many frames an object must be followed well before motion counts."""
    min_stable_iou: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Below this predicted IoU the filter starts afresh."""
    min_memory_iou: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A memory is read if its predicted IoU is above this and its object score above 0."""
    gates_motion: bool = False
    """Whether a memory is read only if its box also met the predicted one, as the paper says; the official
    code does not ask for it."""

    def accepts(self, bank: ObjectBank, frame: MemoryFrame) -> bool:
        is_good = frame.predicted_iou > self.min_memory_iou and frame.object_score_logit > 0
        return is_good and not (self.gates_motion and frame.frame_idx in bank.notes.get("off_course", ()))

    def decide(self, bank: ObjectBank, moment: Moment, offers: Sequence[Offer]) -> list[Branch]:
        (offer,) = offers
        notes = bank.notes
        ious = offer.predicted_ious
        masks = (offer.logits_khw > 0).cpu().numpy()
        boxes = [box_of(mask) for mask in masks]
        stable, motion = int(notes.get("stable", 0)), None
        # The filter knows the velocity in one direction of time; when tracking turns round, it starts afresh.
        if stable and moment.frames_back(notes["last"]) <= 0:
            stable = 0
        if stable:
            motion = BoxFilter(np.array(notes["mean"]), np.array(notes["covariance"])).predicted()
            agreement = [box_iou(motion.box, box) if box else 0.0 for box in boxes]
        else:
            agreement = [0.0] * len(boxes)
        chosen = offer.best
        if stable >= self.warm_up:
            weight = self.motion_weight
            scores = [weight * a + (1 - weight) * iou for a, iou in zip(agreement, ious, strict=True)]
            chosen = max(range(len(scores)), key=scores.__getitem__)
        box = boxes[chosen]
        is_off_course = motion is not None and agreement[chosen] <= 0
        if box is None or (motion is not None and ious[chosen] <= self.min_stable_iou):
            motion, stable = None, 0
        else:
            motion = BoxFilter.started(box) if motion is None else motion.updated(box)
            stable += 1
        off_course = [t for t in notes.get("off_course", ()) if t in bank.tracked]
        new_notes = {
            "stable": stable,
            "last": moment.frame_idx,
            "off_course": [*off_course, moment.frame_idx] if is_off_course else off_course,
        }
        if motion is not None:
            new_notes |= {"mean": motion.mean.tolist(), "covariance": motion.covariance.tolist()}
        return [Branch(0, chosen, new_notes)]

    def note_prompt(self, bank: ObjectBank, memory: MemoryFrame) -> None:
        bank.note({"off_course": bank.notes.get("off_course", [])})
