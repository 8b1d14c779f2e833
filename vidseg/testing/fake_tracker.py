"""A tracker that is fast, exact and easily upset: it tells a test when a loop has fed it wrongly.

An object is a box whose steps depend on the pixels of every frame since it was prompted, on their order, and
on the frames it was conditioned on. A frame left out, given twice, or given after a wrong restore moves every
later box.
"""

from __future__ import annotations

import dataclasses
import json
import time
import zlib
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import PromptError
from vidseg.masks import tight_box
from vidseg.trackers.contract import ABSENT_LOGIT, Frame, FrameResult, Prompt, TrackerTraits
from vidseg.trackers.frame_order import check_frame_order
from vidseg.trackers.given_frame import as_frame, check_frame
from vidseg.trackers.pending import PendingPrompts, checked_id
from vidseg.trackers.session_file import read_session, whole_session, write_session

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box, Labels, Points, UInt8Array

_POINT_RADIUS = 5
"""Half the side, in pixels, of the box that a click gives."""


class FakeTracker:
    """A tracker that keeps the contract and looks at no object; see the module.

    Args:
        seconds_a_frame: how long a step takes.
        fails_on: the frame whose step raises an error that nobody foresaw.
    """

    def __init__(
        self, name: str = "fake", *, seconds_a_frame: float = 0.0, fails_on: int | None = None
    ) -> None:
        self.name = name
        self.traits = TrackerTraits()
        self.seconds_a_frame = seconds_a_frame
        self.fails_on = fails_on
        self.calls: list[tuple[str, int]] = []
        """What sessions were asked for: ('step' or 'condition', frame index)."""
        self.num_frames: list[int | None] = []
        """The lengths that sessions were started with."""

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FakeSession:
        self.num_frames.append(num_frames)
        return FakeSession(self, _State(reverse=reverse))

    def restore(self, path: str | PathLike[str]) -> FakeSession:
        _, facts = read_session(path, tracker=self.name, fingerprint="fake", framework="np")
        with whole_session(path):
            return FakeSession(self, _State.of(facts))

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "config": {}, "weights_sha256": None}


@dataclasses.dataclass
class _Box:
    """One object: where it is, and a checksum of the frames that it has seen."""

    x: int
    y: int
    w: int
    h: int
    chain: int

    def see(self, pixels: bytes) -> None:
        """Move by what a frame shows."""
        self.chain = zlib.crc32(pixels, self.chain)
        self.x += self.chain % 5 - 2
        self.y += self.chain // 5 % 5 - 2


@dataclasses.dataclass
class _State:
    reverse: bool = False
    last: int | None = None
    """The frame last stepped to."""
    pts_seconds: float = 0.0
    size_hw: tuple[int, int] = (0, 0)
    objects: dict[int, _Box] = dataclasses.field(default_factory=dict)
    ahead: dict[int, dict[int, _Box]] = dataclasses.field(default_factory=dict)
    """Frame -> the objects that it was conditioned with."""
    pending: PendingPrompts = dataclasses.field(default_factory=PendingPrompts)

    def facts(self) -> dict[str, Any]:
        """The state as JSON values."""
        prompts = {
            obj_id: [None if part is None else part.tolist() for part in dataclasses.astuple(prompt)]
            for obj_id, prompt in self.pending.items()
        }
        facts = dataclasses.asdict(dataclasses.replace(self, pending=PendingPrompts()))
        result: dict[str, Any] = json.loads(
            json.dumps({**facts, "pending": prompts, "names": self.pending.names})
        )
        return result

    @classmethod
    def of(cls, facts: dict[str, Any]) -> _State:
        def boxes(of: Mapping[str, Any]) -> dict[int, _Box]:
            return {int(obj_id): _Box(**box) for obj_id, box in of.items()}

        pending = PendingPrompts(names=facts.pop("names"))
        for obj_id, (points, labels, box, mask) in facts.pop("pending").items():
            said: dict[str, Any] = {"mask": mask} if mask is not None else {"box": box}
            if points:
                said |= {"points": points, "labels": labels}
            pending.add(int(obj_id), **said)
        return cls(
            objects=boxes(facts.pop("objects")),
            ahead={int(index): boxes(of) for index, of in facts.pop("ahead").items()},
            size_hw=tuple(facts.pop("size_hw")),
            pending=pending,
            **facts,
        )


class FakeSession:
    """A video followed by the fake tracker: boxes in, boxes out."""

    def __init__(self, tracker: FakeTracker, state: _State) -> None:
        self.tracker = tracker
        self._state = state

    @property
    def obj_ids(self) -> list[int]:
        return list(dict.fromkeys([*self._state.objects, *self._state.pending]))

    def prompt(
        self,
        obj_id: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
        label: str | None = None,
    ) -> None:
        self._state.pending.add(obj_id, box=box, points=points, labels=labels, mask=mask, label=label)

    def step(self, frame: Frame | UInt8Array, *, bgr: bool = False) -> FrameResult:
        state = self._state
        frame = as_frame(frame, state.last, reverse=state.reverse, bgr=bgr)
        prompts = self._begin("step", frame)
        assert frame.image is not None
        pixels = frame.image[::4, ::4].tobytes()
        for thing in state.objects.values():
            thing.see(pixels)
        for obj_id, prompt in prompts.items():
            state.objects[obj_id] = self._box(obj_id, prompt)
        state.objects |= state.ahead.pop(frame.index, {})
        state.last, state.pts_seconds, state.size_hw = frame.index, frame.pts_seconds, frame.size_hw
        return self._result(frame.index, frame.pts_seconds, frame.size_hw, state.objects)

    def condition(self, frame: Frame) -> FrameResult:
        check_frame(frame)
        if not self._state.pending:
            raise PromptError(f"frame {frame.index} has no prompt", hint="call prompt() before condition()")
        prompts = self._begin("condition", frame)
        things = self._state.ahead.setdefault(frame.index, {})
        for obj_id, prompt in prompts.items():
            things[obj_id] = self._box(obj_id, prompt)
        return self._result(frame.index, frame.pts_seconds, frame.size_hw, things)

    def refine(self, obj_id: int, **prompt: Any) -> FrameResult:
        state = self._state
        obj_id, given = checked_id(obj_id), Prompt.of(**prompt)
        if state.last is None:
            raise PromptError("there is no frame to correct", hint="call prompt(), then step()")
        state.objects[obj_id] = self._box(obj_id, given.fit(state.size_hw))
        return self._result(state.last, state.pts_seconds, state.size_hw, state.objects)

    def remove(self, obj_id: int) -> None:
        obj_id = checked_id(obj_id)
        if obj_id not in self.obj_ids:
            raise PromptError(f"there is no object {obj_id!r} to remove", hint=f"objects: {self.obj_ids}")
        self._state.objects.pop(obj_id, None)
        self._state.pending.forget(obj_id)
        for things in self._state.ahead.values():
            things.pop(obj_id, None)

    def save(self, path: str | PathLike[str]) -> None:
        facts = self._state.facts()
        write_session(path, tracker=self.tracker.name, fingerprint="fake", tensors={}, facts=facts)

    def _begin(self, call: str, frame: Frame) -> dict[int, Prompt]:
        """The prompts for a frame; an error leaves the session as it was."""
        tracker = self.tracker
        check_frame_order(frame.index, self._state.last, reverse=self._state.reverse)
        prompts = self._state.pending.fit(frame)
        tracker.calls.append((call, frame.index))
        if frame.index == tracker.fails_on:
            raise ZeroDivisionError("the fake tracker was told to fail")
        time.sleep(tracker.seconds_a_frame)
        self._state.pending.clear()
        return prompts

    def _box(self, obj_id: int, prompt: Prompt) -> _Box:
        if prompt.mask is not None:
            corners = list(tight_box(prompt.mask))
        elif prompt.box is not None:
            corners = prompt.box.tolist()
        else:
            (x, y), r = prompt.points_xy[0], _POINT_RADIUS
            corners = [x - r, y - r, x + r, y + r]
        x0, y0, x1, y1 = (int(v) for v in corners)
        ahead = sorted(index for index, things in self._state.ahead.items() if obj_id in things)
        return _Box(x0, y0, x1 - x0, y1 - y0, zlib.crc32(repr((obj_id, ahead)).encode()))

    def _result(
        self, index: int, pts_seconds: float, size_hw: tuple[int, int], things: Mapping[int, _Box]
    ) -> FrameResult:
        height, width = size_hw
        logits = np.full((len(things), height, width), ABSENT_LOGIT, np.float32)
        for row, thing in enumerate(things.values()):
            x, y = thing.x % (width - 2), thing.y % (height - 2)
            logits[row, y : y + thing.h, x : x + thing.w] = 5
        return FrameResult(
            frame_idx=index,
            pts_seconds=pts_seconds,
            size_hw=size_hw,
            obj_ids=list(things),
            low_res_logits=logits,
            object_score_logits=np.full(len(things), 4, np.float32),
            predicted_ious=np.full(len(things), 0.9, np.float32),
            states=["visible"] * len(things),
            to_video_res=lambda low_res, size_hw: low_res,
            labels=self._state.pending.names_of(things),
        )
