"""One video followed by an image model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from vidseg.trackers.carrying.session import CarryingSession, Picture
from vidseg.trackers.carrying.state import Answer, SessionState
from vidseg.trackers.contract import ABSENT_LOGIT, Frame, Prompt
from vidseg.trackers.following.frame import SeenFrame, Watch
from vidseg.trackers.following.objects import LARGEST_SCORE, FollowedObject
from vidseg.trackers.following.placement import Placement, placement_of
from vidseg.trackers.following.rules import FollowingRule
from vidseg.trackers.given_frame import computed_once
from vidseg.trackers.image.embedding import Embedding
from vidseg.trackers.image.prompt import ImagePrompt
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.model import MASK_LOGIT_BIAS, MASK_LOGIT_SCALE
from vidseg.trackers.postprocess import fill_holes, remove_specks, separate

if TYPE_CHECKING:
    from vidseg.trackers.contract import BoolArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class FollowingOptions:
    """Options of results, with their defaults; see `vidseg.trackers.options.EngineOptions`."""

    non_overlap_masks: bool = False
    fill_hole_area: int = 0
    remove_speck_area: int = 0


class FollowingSession(CarryingSession[SeenFrame, FollowedObject]):
    """Follows objects by questions to an image model, which encodes each frame once.

    A prompt is answered as the image model answers it on that picture alone; a mask is taken as it is. Clicks
    on an object that is there correct its mask. Objects are carried by a rule.
    """

    def __init__(
        self,
        tracker: str,
        fingerprint: str,
        segmenter: ImageSegmenter,
        rule: FollowingRule,
        options: FollowingOptions,
        state: SessionState[FollowedObject],
        watch: Watch,
    ) -> None:
        super().__init__(tracker, fingerprint, rule.max_side, state)
        self._segmenter = segmenter
        self._rule = rule
        self._options = options
        self._watch = watch
        self._placement: Placement | None = None

    @property
    def embedding(self) -> Embedding | None:
        """The frame last stepped to, encoded; None if there is none since the start or a restore."""
        return None if self._seen is None else self._seen.embedding

    def _look(self, frame: Frame, picture: Picture) -> SeenFrame:
        assert frame.image is not None
        image, model = frame.image, self._segmenter.model
        if self._placement is None:  # frames of a video have one size
            grid_hw = picture.shape[0], picture.shape[1]
            self._placement = placement_of(self._segmenter.framing, model.low_res_size, grid_hw)
        with self._watch("encode"):
            embedding = computed_once(frame, self._segmenter, lambda: self._segmenter.embed(image))
        return SeenFrame(
            frame.size_hw,
            picture,
            embedding,
            self._placement,
            model.feedback_limit,
            draws_prompts=model.num_prompt_tokens(torch.ones(1, 1, dtype=torch.int32)) == 0,
            watch=self._watch,
        )

    def _carry(self, now: SeenFrame, before: Picture) -> None:
        self._rule.carry(self._state.objects, now, before)

    def _segment(
        self, prompts: Mapping[int, Prompt], so_far: Mapping[int, Answer], seen: SeenFrame
    ) -> dict[int, Answer]:
        answers = {
            obj_id: Answer(_logits_of(prompt.mask, seen), 1.0)
            for obj_id, prompt in prompts.items()
            if prompt.mask is not None
        }
        asked = {}
        for obj_id, prompt in prompts.items():
            if prompt.mask is None:
                known = so_far[obj_id].map if obj_id in so_far and prompt.is_clicks else None
                fed_back = seen.fed_back(known) if known is not None and (known > 0).any() else None
                asked[obj_id] = ImagePrompt.joined(prompt.box, prompt.points_xy, prompt.labels, fed_back)
        for obj_id, candidates in zip(asked, seen.ask(list(asked.values())), strict=True):
            # One click is ambiguous, as in SAM; more of a prompt is not.
            is_ambiguous = len(asked[obj_id].labels) == 1 and asked[obj_id].mask_logits is None
            best = candidates.best(multimask=is_ambiguous)
            answers[obj_id] = Answer(candidates.logits[best], float(candidates.predicted_ious[best]))
        return {obj_id: answers[obj_id] for obj_id in prompts}

    def _learn(self, tracked: FollowedObject | None, answer: Answer, seen: SeenFrame) -> FollowedObject:
        shown = self._shown(answer, seen)
        self._rule.learn(shown, seen)
        return shown

    def _learn_ahead(self, tracked: FollowedObject | None, answer: Answer, seen: SeenFrame) -> FollowedObject:
        shown = self._learn(None, answer, seen)
        if tracked is None:
            shown.lose()
            return shown
        self._rule.learn_ahead(tracked, shown, seen)
        return tracked

    def _arrive(self, tracked: FollowedObject, answer: Answer, seen: SeenFrame) -> None:
        shown = self._shown(answer, seen)
        tracked.logits, tracked.score_logit, tracked.quality = shown.logits, shown.score_logit, shown.quality
        self._rule.arrive(tracked, seen)

    def _answer_of(self, tracked: FollowedObject) -> Answer:
        return Answer(tracked.logits, tracked.quality)

    def _shown(self, answer: Answer, seen: SeenFrame) -> FollowedObject:
        return FollowedObject(answer.map, LARGEST_SCORE, answer.quality)

    def _low_res_logits(self, objects: list[FollowedObject]) -> FloatArray:
        assert self._placement is not None
        logits = np.full((len(objects), *self._placement.low_hw), ABSENT_LOGIT, np.float32)
        for row, tracked in enumerate(objects):
            if tracked.is_there:
                logits[row] = tracked.logits
        if self._options.fill_hole_area:
            return fill_holes(torch.from_numpy(logits), self._options.fill_hole_area).numpy()
        return logits

    def _to_video_res(self, low_res_logits: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
        assert self._placement is not None
        logits = torch.from_numpy(low_res_logits)
        if not len(logits):
            return np.zeros((0, *size_hw), np.float32)
        if self._options.remove_speck_area:
            logits = remove_specks(logits, self._options.remove_speck_area)
        logits = self._placement.to_video(logits, size_hw)
        return (separate(logits) if self._options.non_overlap_masks else logits).numpy()


def _logits_of(mask: BoolArray, seen: SeenFrame) -> FloatArray:
    """A user's mask as logits on the low-res grid."""
    height, width = seen.grid_hw
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    logits: FloatArray = MASK_LOGIT_SCALE * seen.placement.from_grid(share[None], 0.0)[0] + MASK_LOGIT_BIAS
    if not (logits > 0).any():  # the object is thinner than a cell
        logits[np.unravel_index(int(logits.argmax()), logits.shape)] = -MASK_LOGIT_BIAS
    return logits
