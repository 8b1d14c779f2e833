"""Plans which frames are tracked, for which objects, from where, by which prompts.

Tracking from prompts follows the plan of `vidseg track` (`vidseg.pipeline.plan`), so that it gives the same
masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vidseg.annotation.project import Project, Said
from vidseg.annotation.starts import Start, Starts, in_turn, object_prompts
from vidseg.errors import PromptError
from vidseg.pipeline.prompt_schedule import PromptSchedule
from vidseg.pipeline.prompts import ObjectPrompts
from vidseg.trackers.contract import Frame

Direction = Literal["forward", "backward", "both"]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Frames that are stepped through in one session."""

    obj_ids: list[int]
    schedule: PromptSchedule
    begin: int
    """The first frame that is stepped to."""
    end: int
    """The last one, inclusive; below `begin` in reverse."""
    start: Start | None = None
    """Where the session goes on from; None for a new one."""
    written: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Object id -> lowest and highest frame whose mask is kept; other frames are only passed through."""
    said: dict[tuple[int, int], Said] = field(default_factory=dict)
    """(object id, frame) -> what was said of the objects when this was planned; the schedule has no more."""
    corrected: int | None = None
    """The frame of a correction: beyond it, tracking stops once it agrees with what was there."""

    @property
    def reverse(self) -> bool:
        return self.schedule.reverse

    @property
    def num_frames(self) -> int:
        return abs(self.end - self.begin) + 1


class Planner:
    """Plans passes over one project.

    Args:
        read_frame: reads a frame out of turn, for prompts that lie ahead.
        clicks_correct: the trait of the tracker.
    """

    def __init__(
        self,
        project: Project,
        starts: Starts,
        *,
        num_frames: int,
        size_hw: tuple[int, int],
        read_frame: Callable[[int], Frame],
        clicks_correct: bool,
    ) -> None:
        self._project = project
        self._starts = starts
        self._last = num_frames - 1
        self._size_hw = size_hw
        self._read_frame = read_frame
        self._clicks_correct = clicks_correct

    def track(
        self, obj_ids: Sequence[int], direction: Direction, first: int | None, last: int | None
    ) -> list[Pass]:
        """Passes that track objects from their prompts, or on from the border of `first` to `last`.

        Raises:
            PromptError: an object has neither a prompt there nor a mask to go on from.
        """
        low, high = first or 0, self._last if last is None else min(last, self._last)
        if low > high:
            raise PromptError(f"no frames from {low} to {high}", hint="give the lower frame first")
        prompts = {obj_id: self._prompts(obj_id, low, high) for obj_id in obj_ids}
        begun = {}
        if direction == "backward" and last is not None:
            begun = self._begun(obj_ids, high + 1, reverse=True)
        elif first is not None:
            begun = self._begun(obj_ids, low, reverse=False)
        for obj_id in obj_ids:
            if not prompts[obj_id].on_frames and obj_id not in begun:
                name = self._project.object(obj_id).name
                raise PromptError(
                    f"'{name}' has no prompt to track from", hint="click it or draw a box first"
                )
        passes = self._going_on(begun, prompts, low, high, reverse=direction == "backward")
        fresh = [prompts[obj_id] for obj_id in obj_ids if obj_id not in begun]
        if fresh and direction in ("backward", "both"):
            passes += self._backward(fresh, low, only_before_first=direction == "both")
        if fresh and direction in ("forward", "both"):
            begin = min(thing.first_frame for thing in fresh)
            passes.append(self._fresh(fresh, begin, high, reverse=False))
        return passes

    def retrack(self, obj_id: int, frame_idx: int) -> list[Pass]:
        """Passes that carry a correction on, the way in which the frame was tracked.

        Raises:
            PromptError: nothing was tracked beside the frame.
        """
        reverse = self._starts.direction_at(obj_id, frame_idx)
        before, after = (self._project.mask(obj_id, frame_idx + step) for step in (-1, 1))
        ways = []
        if reverse is not None:
            ways = [reverse]
        else:  # the frame from which the object was tracked
            ways += [False] if after is not None and not after.reverse else []
            ways += [True] if before is not None and before.reverse else []
        passes = [self._correction(obj_id, frame_idx, reverse=way) for way in ways]
        if not passes:
            name = self._project.object(obj_id).name
            raise PromptError(f"'{name}' was not tracked to frame {frame_idx}", hint="track it first")
        return passes

    def _correction(self, obj_id: int, frame_idx: int, *, reverse: bool) -> Pass:
        end = 0 if reverse else self._last
        written = {obj_id: (min(frame_idx, end), max(frame_idx, end))}
        start = self._starts.before(obj_id, frame_idx, reverse=reverse)
        if start is not None:
            thing = self._prompts(obj_id, 0, self._last, start=start)
            return self._from(start, [thing], end, written, reverse=reverse, corrected=frame_idx)
        low, high = written[obj_id]
        thing = self._prompts(obj_id, low, high)
        return self._fresh([thing], frame_idx, end, reverse=reverse, corrected=frame_idx)

    def _prompts(self, obj_id: int, low: int, high: int, *, start: Start | None = None) -> ObjectPrompts:
        said = [s for s in self._project.said(obj_id) if low <= s.frame_idx <= high]
        return object_prompts(obj_id, said, self._size_hw, seed=None if start is None else start.mask)

    def _begun(self, obj_ids: Sequence[int], frame_idx: int, *, reverse: bool) -> dict[int, Start]:
        """The objects that were tracked to the border of a range."""
        found = {obj_id: self._starts.before(obj_id, frame_idx, reverse=reverse) for obj_id in obj_ids}
        return {obj_id: start for obj_id, start in found.items() if start is not None}

    def _going_on(
        self,
        begun: dict[int, Start],
        prompts: dict[int, ObjectPrompts],
        low: int,
        high: int,
        *,
        reverse: bool,
    ) -> list[Pass]:
        """A pass for each state from which objects go on; those of one saved session go together."""
        groups: dict[Start, list[int]] = {}
        for obj_id, start in begun.items():
            groups.setdefault(start, []).append(obj_id)
        passes = []
        for start, obj_ids in groups.items():
            things = [self._prompts(obj_id, 0, self._last, start=start) for obj_id in obj_ids]
            written = dict.fromkeys(obj_ids, (low, high))
            passes.append(self._from(start, things, low if reverse else high, written, reverse=reverse))
        return passes

    def _from(
        self,
        start: Start,
        things: list[ObjectPrompts],
        end: int,
        written: dict[int, tuple[int, int]],
        *,
        reverse: bool,
        corrected: int | None = None,
    ) -> Pass:
        step = -1 if reverse else 1
        return Pass(
            obj_ids=[thing.obj_id for thing in things],
            schedule=in_turn(things, reverse=reverse),
            begin=start.frame_idx + (0 if start.session_file is None else step),
            end=end,
            start=start,
            written=written,
            said=self._said(things),
            corrected=corrected,
        )

    def _said(self, things: list[ObjectPrompts]) -> dict[tuple[int, int], Said]:
        said = [each for thing in things for each in self._project.said(thing.obj_id)]
        return {(each.obj_id, each.frame_idx): each for each in said}

    def _backward(self, things: list[ObjectPrompts], low: int, *, only_before_first: bool) -> list[Pass]:
        if only_before_first:
            things = [thing for thing in things if thing.first_frame > low]
        if not things:
            return []
        begin = max(thing.last_frame for thing in things)
        written = {t.obj_id: (low, t.first_frame - 1 if only_before_first else t.last_frame) for t in things}
        return [self._fresh(things, begin, low, reverse=True, written=written)]

    def _fresh(
        self,
        things: list[ObjectPrompts],
        begin: int,
        end: int,
        *,
        reverse: bool,
        written: dict[int, tuple[int, int]] | None = None,
        corrected: int | None = None,
    ) -> Pass:
        schedule = PromptSchedule(
            objects=things,
            start_on="last" if reverse else "first",
            reverse=reverse,
            read_frame=self._read_frame,
            clicks_correct=self._clicks_correct,
        )
        return Pass(
            obj_ids=[thing.obj_id for thing in things],
            schedule=schedule,
            begin=begin,
            end=end,
            written=written or {t.obj_id: (min(begin, end), max(begin, end)) for t in things},
            said=self._said(things),
            corrected=corrected,
        )
