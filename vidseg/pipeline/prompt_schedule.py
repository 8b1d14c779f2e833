"""Decides when each prompt is given to the session.

The rule is that of SAM 2's own scripts for single objects (`vos_separate_inference_per_object` in
tools/vos_inference.py, facebookresearch/sam2): all prompted frames of an object are segmented first, then the
object is carried from the frame on which it starts. Objects do not see each other's memories, so an object
that starts in the middle of a pass gets the same masks as in a video state of its own.

For trackers with the trait `clicks_correct`, clicks on a later frame correct the mask tracked into it, so
they are given when that frame comes. So are prompts that say of themselves that they are `in_turn`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Literal

from vidseg.pipeline.prompts import ObjectPrompts
from vidseg.trackers.contract import Frame, Prompt, Session


@dataclass(frozen=True, kw_only=True)
class PromptSchedule:
    """The prompts of one pass over the video."""

    objects: list[ObjectPrompts]
    start_on: Literal["first", "last"] = "first"
    """Prompted frame on which an object starts. A backward run carries it down from the last one."""
    reverse: bool = False
    read_frame: Callable[[int], Frame] | None = None
    """Reads one frame out of turn; None if the source cannot seek. Later prompts are then given when their
    frame comes, as corrections."""
    clicks_correct: bool = False
    """The trait of the tracker: clicks are given when their frame comes."""
    discovers: bool = False
    """Whether objects are found besides those that are prompted; then there may be no prompts at all."""

    def start_of(self, thing: ObjectPrompts) -> int:
        return thing.first_frame if self.start_on == "first" else thing.last_frame

    @property
    def lowest_start(self) -> int:
        return min(map(self.start_of, self.objects))

    @property
    def highest_start(self) -> int:
        return max(map(self.start_of, self.objects))

    def has_started(self, frame_idx: int) -> bool:
        """Whether any object is followed on this frame, or could be."""
        if self.discovers:
            return True
        return frame_idx <= self.highest_start if self.reverse else frame_idx >= self.lowest_start

    def prompt(self, session: Session, previous_idx: int | None, frame_idx: int) -> None:
        """Give the session the prompts that it needs before it steps into a frame.

        Args:
            previous_idx: the frame before, or None on the first frame of a pass. A live source may have
                dropped frames in between, a damaged one lost them; a prompt on one of those is given on the
                next frame that exists.
        """

        def is_due(prompted_idx: int) -> bool:
            if self.reverse:
                above = frame_idx + 1 if previous_idx is None else previous_idx
                return frame_idx <= prompted_idx < above
            return (-1 if previous_idx is None else previous_idx) < prompted_idx <= frame_idx

        starting = [thing for thing in self.objects if is_due(self.start_of(thing))]
        elsewhere = sorted({i for o in starting for i in o.on_frames if self._lies_ahead(o, i)})
        for idx in elsewhere:
            for thing in starting:
                if idx in thing.on_frames and self._lies_ahead(thing, idx):
                    give(session, thing.obj_id, thing.on_frames[idx])
            assert self.read_frame is not None
            session.condition(self.read_frame(idx))
        for thing in self.objects:
            due = [idx for idx in thing.on_frames if is_due(idx) and self._is_given_at(thing, idx)]
            if due:
                passed = [thing.on_frames[idx] for idx in (due[::-1] if self.reverse else due)]
                give(session, thing.obj_id, reduce(_on_one_frame, passed))

    def _is_given_at(self, thing: ObjectPrompts, idx: int) -> bool:
        """Whether a prompt is given when its frame comes; a correction, only once the object has started."""
        start = self.start_of(thing)
        has_started = idx <= start if self.reverse else idx >= start
        return has_started and not self._lies_ahead(thing, idx)

    def _lies_ahead(self, thing: ObjectPrompts, idx: int) -> bool:
        """Whether a prompt is answered before the object is carried to its frame."""
        corrects = idx in thing.in_turn or (self.clicks_correct and thing.on_frames[idx].is_clicks)
        return self.read_frame is not None and idx != self.start_of(thing) and not corrects


def _on_one_frame(earlier: Prompt, later: Prompt) -> Prompt:
    """Two prompts of one object whose frames were lost, as one: a box or a mask anew, or clicks besides."""
    if not later.is_clicks:
        return later
    return earlier if earlier.mask is not None else earlier.merge(later)


def give(session: Session, obj_id: int, prompt: Prompt) -> None:
    """Prompt a session for one object: its next frame is segmented by it."""
    session.prompt(obj_id, **prompt.arguments())
