"""One video, of which nothing is kept but the last frame and what each object looks like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from vidseg.errors import InputError, PromptError
from vidseg.trackers.carrying.grid import grid_size, to_grid
from vidseg.trackers.carrying.state import Answer, Obj, SessionState, save_state
from vidseg.trackers.contract import Frame, FrameResult, Prompt
from vidseg.trackers.frame_order import check_frame_order, no_frame_to_correct
from vidseg.trackers.given_frame import as_frame, check_frame
from vidseg.trackers.pending import checked_id

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box, FloatArray, Labels, Points, UInt8Array

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """A frame as it is looked at, once for all objects."""

    size_hw: tuple[int, int]
    """Height and width of the video."""
    picture: Picture
    """uint8 h x w x 3, RGB: the frame on the session's grid."""

    @property
    def grid_hw(self) -> tuple[int, int]:
        return self.picture.shape[0], self.picture.shape[1]


Look = TypeVar("Look", bound=Seen)


class CarryingSession(ABC, Generic[Look, Obj]):
    """Follows objects through one video; see `vidseg.trackers.contract.Session`.

    Life of a frame: look at it -> carry every object into it -> put objects where frames ahead were
    answered -> answer the prompts for it -> remember the picture.

    How objects look, and how they are carried and segmented, is the subclass's.

    Args:
        fingerprint: see `vidseg.trackers.carrying.state.fingerprint_of`.
        max_side: the longer side of the grid, at most, in pixels.
    """

    def __init__(self, tracker: str, fingerprint: str, max_side: int, state: SessionState[Obj]) -> None:
        self._tracker = tracker
        self._fingerprint = fingerprint
        self._max_side = max_side
        self._state = state
        self._seen: Look | None = None

    @abstractmethod
    def _look(self, frame: Frame, picture: Picture) -> Look:
        """What all objects need of a frame; `picture` is the frame on the grid."""

    @abstractmethod
    def _carry(self, now: Look, before: Picture) -> None:
        """Carry every object of the state from the last picture into this frame."""

    @abstractmethod
    def _segment(
        self, prompts: Mapping[int, Prompt], so_far: Mapping[int, Answer], seen: Look
    ) -> dict[int, Answer]:
        """Answer prompts, in pixels of the video.

        Args:
            so_far: what is known of objects on this frame, which points alone correct.
        """

    @abstractmethod
    def _learn(self, tracked: Obj | None, answer: Answer, seen: Look) -> Obj:
        """An object as an answer on this frame shows it.

        Args:
            tracked: the object so far; None for a new one.
        """

    @abstractmethod
    def _learn_ahead(self, tracked: Obj | None, answer: Answer, seen: Look) -> Obj:
        """An object with the looks that it has on a frame ahead; its present mask stays as it is, and a new
        object is absent."""

    @abstractmethod
    def _arrive(self, tracked: Obj, answer: Answer, seen: Look) -> None:
        """Put an object where `_learn_ahead` saw it, on that frame."""

    @abstractmethod
    def _answer_of(self, tracked: Obj) -> Answer:
        """Where an object is on the last frame, as an answer."""

    @abstractmethod
    def _shown(self, answer: Answer, seen: Look) -> Obj:
        """An object of which nothing but an answer is known."""

    @abstractmethod
    def _low_res_logits(self, objects: list[Obj]) -> FloatArray:
        """N x h x w: mask logits of objects; `ABSENT_LOGIT` for an absent one."""

    @abstractmethod
    def _to_video_res(self, low_res_logits: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
        """N x H x W of N x h x w."""

    @property
    def obj_ids(self) -> list[int]:
        """The objects followed now, in order of their first prompt."""
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
        """Prompt an object, new or old, on the next frame given to `step` or `condition`.

        On an old object a box or a mask starts its mask anew; points alone correct the tracked one.

        Raises:
            PromptError: see `PendingPrompts.add`; what depends on the frame's size is checked by `step`.
        """
        self._state.pending.add(obj_id, box=box, points=points, labels=labels, mask=mask, label=label)

    def step(self, frame: Frame | UInt8Array, *, bgr: bool = False) -> FrameResult:
        """Track every object into this frame. Without objects the result has N = 0.

        Raises:
            PromptError: a prompt does not fit this frame; that prompt is dropped, nothing else changes.
            InputError: a frame without pixels, of another size, or out of order.
        """
        state = self._state
        frame = as_frame(frame, state.frame_idx, reverse=state.reverse, bgr=bgr)
        check_frame_order(frame.index, state.frame_idx, reverse=state.reverse)
        seen, prompts = self._look_at(frame)
        as_they_were = deepcopy(state.objects) if prompts else state.objects
        if state.picture is not None and state.objects:
            self._carry(seen, state.picture)
        for obj_id, answer in state.ahead.get(frame.index, {}).items():
            self._arrive(state.objects[obj_id], answer, seen)
        try:
            self._answer(prompts, seen, frame.index)
        except PromptError:
            state.objects = as_they_were
            raise
        self._forget_passed(frame.index)
        state.frame_idx, state.pts_seconds, state.picture = frame.index, frame.pts_seconds, seen.picture
        self._seen = seen
        return self._result(frame.index, frame.pts_seconds, state.objects)

    def condition(self, frame: Frame) -> FrameResult:
        """Segment a prompted frame that lies ahead, before the frames on the way are stepped through.

        What the objects look like there is learned at once; their masks are used when `step` comes to that
        frame. The result holds the objects that were prompted on this frame.

        Raises:
            PromptError: a prompt does not fit the frame, or there is none for it.
            InputError: a frame without pixels, of another size, or one that was passed already.
        """
        check_frame(frame)
        state = self._state
        check_frame_order(frame.index, state.frame_idx, reverse=state.reverse)
        if not state.pending:
            raise PromptError(f"frame {frame.index} has no prompt", hint="call prompt() before condition()")
        seen, prompts = self._look_at(frame)
        answers = state.ahead.setdefault(frame.index, {})
        for obj_id, answer in self._answers_to(prompts, answers, seen, frame.index).items():
            answers[obj_id] = answer
            state.objects[obj_id] = self._learn_ahead(state.objects.get(obj_id), answer, seen)
        shown = {obj_id: self._shown(answer, seen) for obj_id, answer in answers.items()}
        return self._result(frame.index, frame.pts_seconds, shown)

    def refine(
        self,
        obj_id: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask: Any = None,
    ) -> FrameResult:
        """Correct the frame last stepped to, or add an object on it; returns its new result, for all objects.

        A box or a mask starts the object's mask anew; points alone correct it.

        Raises:
            InputError: no frame was stepped to since the session was started or restored.
            PromptError: the prompt does not fit the frame.
        """
        state = self._state
        obj_id = checked_id(obj_id)
        given = Prompt.of(box=box, points=points, labels=labels, mask=mask)
        if self._seen is None or state.frame_idx is None:
            raise no_frame_to_correct()
        self._answer({obj_id: given.fit(self._seen.size_hw)}, self._seen, state.frame_idx)
        return self._result(state.frame_idx, state.pts_seconds, state.objects)

    def remove(self, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: there is no such object.
        """
        obj_id = checked_id(obj_id)
        if obj_id not in self.obj_ids:
            known = ", ".join(map(str, self.obj_ids)) or "none"
            raise PromptError(f"there is no object {obj_id!r} to remove", hint=f"objects: {known}")
        self._state.objects.pop(obj_id, None)
        self._state.pending.forget(obj_id)
        for answers in self._state.ahead.values():
            answers.pop(obj_id, None)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the session's state (safetensors, atomically); its size does not grow with the video."""
        save_state(path, self._state, self._tracker, self._fingerprint)

    def _look_at(self, frame: Frame) -> tuple[Look, dict[int, Prompt]]:
        """The frame as objects need it, and the prompts that wait for it."""
        state = self._state
        if state.size_hw not in (None, frame.size_hw):
            raise InputError(
                f"frame {frame.index} is {frame.size_hw[1]}x{frame.size_hw[0]} in a video of "
                f"{state.size_hw[1]}x{state.size_hw[0]}",
                hint="start a session for each video",
            )
        picture = to_grid(frame, grid_size(frame.size_hw, self._max_side))
        prompts = state.pending.fit(frame)
        seen = self._look(frame, picture)
        state.pending.clear()  # after the look, so that prompts keep waiting if it fails
        state.size_hw = frame.size_hw
        return seen, prompts

    def _answer(self, prompts: Mapping[int, Prompt], seen: Look, frame_idx: int) -> None:
        """Answer prompts on a frame that objects have been carried into, and learn from the answers."""
        objects = self._state.objects
        so_far = {obj_id: self._answer_of(objects[obj_id]) for obj_id in prompts if obj_id in objects}
        for obj_id, answer in self._answers_to(prompts, so_far, seen, frame_idx).items():
            objects[obj_id] = self._learn(objects.get(obj_id), answer, seen)

    def _answers_to(
        self, prompts: Mapping[int, Prompt], so_far: Mapping[int, Answer], seen: Look, frame_idx: int
    ) -> dict[int, Answer]:
        """The answers to prompts; one that the method cannot answer is dropped, and the others wait again."""
        try:
            return self._segment(prompts, so_far, seen)
        except PromptError:
            for obj_id, prompt in prompts.items():
                try:
                    self._segment({obj_id: prompt}, so_far, seen)
                except PromptError as error:
                    self._state.pending.update({i: p for i, p in prompts.items() if i != obj_id})
                    raise error.at(f"object {obj_id}, frame {frame_idx}") from None
            raise

    def _forget_passed(self, frame_idx: int) -> None:
        """Drop the answers on conditioned frames that were skipped."""
        ahead = self._state.ahead
        for index in [i for i in ahead if (i >= frame_idx if self._state.reverse else i <= frame_idx)]:
            del ahead[index]

    def _result(self, frame_idx: int, pts_seconds: float, objects: Mapping[int, Obj]) -> FrameResult:
        state = self._state
        assert state.size_hw is not None
        shown = list(objects.values())
        return FrameResult(
            frame_idx=frame_idx,
            pts_seconds=pts_seconds,
            size_hw=state.size_hw,
            obj_ids=list(objects),
            low_res_logits=self._low_res_logits(shown),
            object_score_logits=np.array([tracked.score_logit for tracked in shown], np.float32),
            predicted_ious=np.array([tracked.quality for tracked in shown], np.float32),
            states=[tracked.state for tracked in shown],
            to_video_res=self._to_video_res,
            labels=state.pending.names_of(objects),
        )
