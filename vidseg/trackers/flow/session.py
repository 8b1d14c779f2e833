"""One video followed by the weight-free tracker."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.errors import InputError, PromptError
from vidseg.trackers.contract import ABSENT_LOGIT, Frame, FrameResult, Prompt
from vidseg.trackers.flow.config import FlowConfig
from vidseg.trackers.flow.grid import grid_size, prompt_to_grid, to_grid, to_video_res
from vidseg.trackers.flow.motion import flow_to_previous
from vidseg.trackers.flow.objects import TrackedObject
from vidseg.trackers.flow.propagation import FrameFeatures, arrive, learn, learn_ahead, propagate
from vidseg.trackers.flow.state import SessionState, save_state
from vidseg.trackers.frame_order import check_frame_order
from vidseg.trackers.given_frame import as_frame
from vidseg.trackers.initial_mask import segment_prompt
from vidseg.trackers.pending import checked_id

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box, Labels, Points, UInt8Array

Picture = npt.NDArray[np.uint8]

_LARGEST_LOGIT = 10.0


class FlowSession:
    """Follows objects through one video, one frame at a time.

    Life of a frame: flow (once) -> each object's mask carried along and judged by its looks ->
    objects compete for pixels -> prompts for this frame -> remember.

    A result's `low_res_logits` lie on the session's grid: the video's size, its longer side brought
    down to the configuration's `max_side`.
    """

    def __init__(self, tracker: str, config: FlowConfig, state: SessionState) -> None:
        self._tracker = tracker
        self._config = config
        self._state = state

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
        picture, prompts = self._look_at(frame)
        if state.picture is not None and state.objects:
            self._propagate(picture)
        masks = state.ahead.pop(frame.index, {})
        for obj_id, mask in masks.items():
            arrive(state.objects[obj_id], picture, mask, self._config)
        for obj_id, prompt in prompts.items():
            tracked = state.objects.setdefault(obj_id, TrackedObject.unseen(_grid_hw(picture)))
            learn(tracked, picture, segment_prompt(picture, prompt, tracked.mask), self._config)
        self._forget_passed(frame.index)
        state.frame_idx, state.pts_seconds, state.picture = frame.index, frame.pts_seconds, picture
        return self._result(frame.index, frame.pts_seconds, state.objects)

    def condition(self, frame: Frame) -> FrameResult:
        """Segment a prompted frame that lies ahead, before the frames on the way are stepped through.

        What the objects look like there is learned at once; their masks are used when `step` comes to that
        frame. The result holds the objects that were prompted on this frame.

        Raises:
            PromptError: a prompt does not fit the frame, or there is none for it.
            InputError: a frame without pixels, of another size, or one that was passed already.
        """
        state = self._state
        check_frame_order(frame.index, state.frame_idx, reverse=state.reverse)
        if not state.pending:
            raise PromptError(f"frame {frame.index} has no prompt", hint="call prompt() before condition()")
        picture, prompts = self._look_at(frame)
        masks = state.ahead.setdefault(frame.index, {})
        for obj_id, prompt in prompts.items():
            masks[obj_id] = segment_prompt(picture, prompt, masks.get(obj_id))
            tracked = state.objects.setdefault(obj_id, TrackedObject.unseen(_grid_hw(picture)))
            learn_ahead(tracked, picture, masks[obj_id], self._config)
        shown = {obj_id: TrackedObject.unseen(_grid_hw(picture)) for obj_id in masks}
        for obj_id, mask in masks.items():
            shown[obj_id].show(mask)
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
            PromptError: there is no such frame yet, or the prompt does not fit it.
        """
        state = self._state
        obj_id = checked_id(obj_id)
        given = Prompt.of(box=box, points=points, labels=labels, mask=mask)
        if state.picture is None or state.frame_idx is None or state.size_hw is None:
            raise PromptError("there is no frame to correct", hint="call prompt(), then step()")
        prompt = prompt_to_grid(given.fit(state.size_hw), state.size_hw, _grid_hw(state.picture))
        tracked = state.objects.setdefault(obj_id, TrackedObject.unseen(_grid_hw(state.picture)))
        learn(tracked, state.picture, segment_prompt(state.picture, prompt, tracked.mask), self._config)
        return self._result(state.frame_idx, state.pts_seconds, state.objects)

    def remove(self, obj_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: there is no such object.
        """
        if obj_id not in self.obj_ids:
            known = ", ".join(map(str, self.obj_ids)) or "none"
            raise PromptError(f"there is no object {obj_id!r} to remove", hint=f"objects: {known}")
        self._state.objects.pop(obj_id, None)
        self._state.pending.forget(obj_id)
        for masks in self._state.ahead.values():
            masks.pop(obj_id, None)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the session's state (safetensors, atomically); its size does not grow with the video."""
        save_state(path, self._state, self._tracker, self._config)

    def _look_at(self, frame: Frame) -> tuple[Picture, dict[int, Prompt]]:
        """The frame on the grid, and the prompts that wait for it, in pixels of the grid."""
        state = self._state
        if state.size_hw not in (None, frame.size_hw):
            raise InputError(
                f"frame {frame.index} is {frame.size_hw[1]}x{frame.size_hw[0]} in a video of "
                f"{state.size_hw[1]}x{state.size_hw[0]}",
                hint="start a session for each video",
            )
        grid_hw = grid_size(frame.size_hw, self._config.max_side)
        picture = to_grid(frame, grid_hw)
        prompts = {
            obj_id: prompt_to_grid(prompt, frame.size_hw, grid_hw)
            for obj_id, prompt in state.pending.fit(frame).items()
        }
        state.pending.clear()
        state.size_hw = frame.size_hw
        return picture, prompts

    def _propagate(self, picture: Picture) -> None:
        """Carry every object into this frame."""
        assert self._state.picture is not None
        flow = flow_to_previous(
            cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.cvtColor(self._state.picture, cv2.COLOR_RGB2GRAY)
        )
        propagate(self._state.objects, FrameFeatures.of(picture, flow), self._config)

    def _forget_passed(self, frame_idx: int) -> None:
        """Drop the masks of conditioned frames that were skipped."""
        ahead = self._state.ahead
        for index in [i for i in ahead if (i >= frame_idx if self._state.reverse else i <= frame_idx)]:
            del ahead[index]

    def _result(
        self, frame_idx: int, pts_seconds: float, objects: Mapping[int, TrackedObject]
    ) -> FrameResult:
        state = self._state
        assert state.size_hw is not None
        grid_hw = grid_size(state.size_hw, self._config.max_side)
        shown = list(objects.values())
        logits = np.full((len(shown), *grid_hw), ABSENT_LOGIT, np.float32)
        for row, tracked in enumerate(shown):
            if tracked.state != "absent":
                logits[row] = _logit(tracked.prob)
        return FrameResult(
            frame_idx=frame_idx,
            pts_seconds=pts_seconds,
            size_hw=state.size_hw,
            obj_ids=list(objects),
            low_res_logits=logits,
            object_score_logits=np.array([tracked.score_logit for tracked in shown], np.float32),
            predicted_ious=np.array([tracked.quality for tracked in shown], np.float32),
            states=[tracked.state for tracked in shown],
            to_video_res=to_video_res,
            labels=state.pending.names_of(objects),
        )


def _grid_hw(picture: Picture) -> tuple[int, int]:
    return picture.shape[0], picture.shape[1]


def _logit(prob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    limit = np.float32(1 / (1 + np.exp(_LARGEST_LOGIT)))
    clipped = np.clip(prob, limit, 1 - limit)
    logit: npt.NDArray[np.float32] = np.log(clipped / (1 - clipped))
    return logit
