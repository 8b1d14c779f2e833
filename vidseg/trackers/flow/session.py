"""One video followed by the weight-free tracker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from vidseg.trackers.carrying.grid import grid_size, prompt_to_grid, to_video_res
from vidseg.trackers.carrying.motion import flow_to_previous
from vidseg.trackers.carrying.session import CarryingSession, Picture, Seen
from vidseg.trackers.carrying.state import Answer, SessionState, fingerprint_of
from vidseg.trackers.contract import ABSENT_LOGIT, Frame, Prompt
from vidseg.trackers.flow.config import FlowConfig
from vidseg.trackers.flow.objects import PROMPTED_QUALITY, TrackedObject
from vidseg.trackers.flow.propagation import FrameFeatures, arrive, learn, learn_ahead, propagate
from vidseg.trackers.initial_mask import segment_prompt

if TYPE_CHECKING:
    from vidseg.trackers.contract import FloatArray

_LARGEST_LOGIT = 10.0


class FlowSession(CarryingSession[Seen, TrackedObject]):
    """Follows objects by dense flow and by their colours.

    Flow is computed once a frame -> each object's mask is carried along and judged by its looks -> objects
    compete for pixels.

    A result's `low_res_logits` lie on the session's grid: the video's size, its longer side brought
    down to the configuration's `max_side`.
    """

    def __init__(self, tracker: str, config: FlowConfig, state: SessionState[TrackedObject]) -> None:
        super().__init__(tracker, fingerprint(config), config.max_side, state)
        self._config = config

    def _look(self, frame: Frame, picture: Picture) -> Seen:
        return Seen(frame.size_hw, picture)

    def _carry(self, now: Seen, before: Picture) -> None:
        greys = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (now.picture, before))
        features = FrameFeatures.of(now.picture, flow_to_previous(*greys))
        propagate(self._state.objects, features, self._config)

    def _segment(
        self, prompts: Mapping[int, Prompt], so_far: Mapping[int, Answer], seen: Seen
    ) -> dict[int, Answer]:
        answers = {}
        for obj_id, prompt in prompts.items():
            asked = prompt_to_grid(prompt, seen.size_hw, seen.grid_hw)
            current = so_far[obj_id].map if obj_id in so_far else None
            answers[obj_id] = Answer(segment_prompt(seen.picture, asked, current), PROMPTED_QUALITY)
        return answers

    def _learn(self, tracked: TrackedObject | None, answer: Answer, seen: Seen) -> TrackedObject:
        tracked = tracked or TrackedObject.unseen(seen.grid_hw)
        learn(tracked, seen.picture, answer.map, self._config)
        return tracked

    def _learn_ahead(self, tracked: TrackedObject | None, answer: Answer, seen: Seen) -> TrackedObject:
        tracked = tracked or TrackedObject.unseen(seen.grid_hw)
        learn_ahead(tracked, seen.picture, answer.map, self._config)
        return tracked

    def _arrive(self, tracked: TrackedObject, answer: Answer, seen: Seen) -> None:
        arrive(tracked, seen.picture, answer.map, self._config)

    def _answer_of(self, tracked: TrackedObject) -> Answer:
        return Answer(tracked.mask, tracked.quality)

    def _shown(self, answer: Answer, seen: Seen) -> TrackedObject:
        shown = TrackedObject.unseen(seen.grid_hw)
        shown.show(answer.map)
        return shown

    def _low_res_logits(self, objects: list[TrackedObject]) -> FloatArray:
        assert self._state.size_hw is not None
        grid_hw = grid_size(self._state.size_hw, self._config.max_side)
        logits = np.full((len(objects), *grid_hw), ABSENT_LOGIT, np.float32)
        for row, tracked in enumerate(objects):
            if tracked.state != "absent":
                logits[row] = _logit(tracked.prob)
        return logits

    def _to_video_res(self, low_res_logits: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
        return to_video_res(low_res_logits, size_hw)


def fingerprint(config: FlowConfig) -> str:
    """A digest of the configuration, which must be the same to go on with a session."""
    return fingerprint_of({"kind": "flow", "config": config.model_dump()})


def _logit(prob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    limit = np.float32(1 / (1 + np.exp(_LARGEST_LOGIT)))
    clipped = np.clip(prob, limit, 1 - limit)
    logit: npt.NDArray[np.float32] = np.log(clipped / (1 - clipped))
    return logit
