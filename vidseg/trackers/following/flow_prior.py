"""The rule `flow-prior`: masks are carried along the optical flow, and the image model is asked about them.

Life of a frame: flow (once) -> each object's prior -> prompts from the priors, answered in one batch -> the
candidate that agrees best with its prior -> objects that no answer agrees with are searched by their tokens,
again in one batch -> remember.

A prior is the mask of the last frame where flow, colours and motion put it now, as the tracker `flow` carries
masks; where the flow does not fit the pixels, it is what the object's token says.

Layouts: N objects · h w the low-res grid · G the grid on which pictures are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from pydantic import Field

from vidseg.masks import iou, tight_box
from vidseg.trackers.carrying.motion import flow_to_previous, warp
from vidseg.trackers.carrying.session import Picture
from vidseg.trackers.flow.config import FlowConfig
from vidseg.trackers.flow.objects import TrackedObject
from vidseg.trackers.flow.propagation import (
    CarriedMask,
    FrameFeatures,
    arrive,
    carry_mask,
    learn,
    learn_ahead,
    take_mask,
)
from vidseg.trackers.following.frame import Candidates, SeenFrame
from vidseg.trackers.following.masks import innermost, iou_of_boxes
from vidseg.trackers.following.objects import FollowedObject
from vidseg.trackers.following.token import calibrated, fit_tokens
from vidseg.trackers.image.prompt import ImagePrompt
from vidseg.validation import Strict

if TYPE_CHECKING:
    from torch import Tensor

    from vidseg.trackers.contract import BoolArray, FloatArray

PromptPart = Literal["box", "point", "mask"]

CLIP = 8.0
"""Logits of priors are between plus and minus this."""


class FlowPriorSettings(Strict):
    """What a YAML may say of `following: {name: flow-prior}`."""

    max_side: int = Field(default=448, ge=32, le=4096)
    """Longest side, in pixels, of the grid on which flow and colours are computed."""
    prompts: list[PromptPart] | None = Field(default=None, min_length=1)
    """What the model is told of a prior: its box, its innermost point, and itself as mask input. None: all
    three; models that draw prompts are told the mask alone, as it says more than a drawing of the others."""
    box_share: float = Field(default=0.25, ge=0, le=1)
    """Weight of the IoU of boxes against that of masks, where a candidate is chosen by its prior."""
    lost_below: float = Field(default=0.2, ge=0, lt=1)
    """An object whose answer and prior have a lower IoU than this is lost, and is searched."""
    sure_from: float = Field(default=0.5, gt=0, le=1)
    """From this IoU on an answer is sure; below it the object is uncertain, and nothing is learned of it."""
    most_mismatch: float = Field(default=40.0, gt=0)
    """The flow fails where the pixels of a prior differ from those that they follow by more than this on
    average, in grey levels of 255."""
    find_response: float = Field(default=0.3, ge=-1, le=1)
    """A lost object is found where its token's map, which is 1 on the object, has at least this mean."""
    token_rate: float = Field(default=0.05, ge=0, le=1)
    """Share of a token that each sure frame renews."""
    ridge: float = Field(default=1e-3, gt=0)
    """See `vidseg.trackers.following.token.fit_tokens`."""


@dataclass(frozen=True)
class _Prior:
    """Where an object is expected on a frame."""

    logits_gg: FloatArray
    along_flow: CarriedMask | None
    """How flow put it there; None where a token did."""


@dataclass(frozen=True)
class _Answer:
    """What the model answered to a prior."""

    logits: FloatArray
    """float32 h x w."""
    quality: float
    """The predicted IoU."""
    agreement: float
    """IoU of the answer with the prior."""


class FlowPrior:
    """See the module; fulfils `vidseg.trackers.following.rules.FollowingRule`."""

    def __init__(self, settings: FlowPriorSettings) -> None:
        self.settings = settings
        self._flow = FlowConfig()

    @property
    def max_side(self) -> int:
        return self.settings.max_side

    def learn(self, tracked: FollowedObject, seen: SeenFrame) -> None:
        (tracked.token,) = self._fitted([tracked], seen)
        mask = _on_grid(tracked, seen)
        tracked.carried = None
        if mask.any():
            tracked.carried = TrackedObject.unseen(seen.grid_hw)
            learn(tracked.carried, seen.picture, mask, self._flow)
            _forget_outline(tracked.carried)

    def learn_ahead(self, tracked: FollowedObject, shown: FollowedObject, seen: SeenFrame) -> None:
        if tracked.carried is None or shown.carried is None:
            tracked.token, tracked.carried = shown.token, shown.carried
            return
        assert tracked.token is not None
        assert shown.token is not None
        tracked.token = np.float32(0.5) * (tracked.token + shown.token)
        learn_ahead(tracked.carried, seen.picture, shown.carried.mask, self._flow)

    def arrive(self, tracked: FollowedObject, seen: SeenFrame) -> None:
        mask = _on_grid(tracked, seen)
        if tracked.carried is not None and mask.any():
            arrive(tracked.carried, seen.picture, mask, self._flow)
            _forget_outline(tracked.carried)

    def carry(self, objects: Mapping[int, FollowedObject], now: SeenFrame, before: Picture) -> None:
        frame, priors = self._priors(objects, now, before)
        answers = self._answers(priors, now)
        lost = {
            obj_id: tracked
            for obj_id, tracked in objects.items()
            if obj_id not in answers or answers[obj_id].agreement < self.settings.lost_below
        }
        found_at = self._searched(lost, now)
        found = self._answers(found_at, now)
        for obj_id, tracked in objects.items():
            if obj_id not in lost:
                self._take(tracked, answers[obj_id], priors[obj_id], now, frame)
            elif obj_id in found and self._is_found(tracked, found[obj_id], now):
                self._take(tracked, found[obj_id], found_at[obj_id], now, frame)
            else:
                tracked.lose()
        self._renew_tokens([tracked for tracked in objects.values() if tracked.score_logit >= 1], now)

    def _priors(
        self, objects: Mapping[int, FollowedObject], now: SeenFrame, before: Picture
    ) -> tuple[FrameFeatures, dict[int, _Prior]]:
        """Maps of the frame for all objects, and the priors of those that were there on the last one."""
        greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (now.picture, before)]
        flow = flow_to_previous(greys[0], greys[1], finest=True)
        frame = FrameFeatures.of(now.picture, flow)
        apart = np.abs(warp(greys[1].astype(np.float32), flow) - greys[0])
        priors = {}
        for obj_id, tracked in objects.items():
            if not tracked.is_there or tracked.carried is None:
                continue
            carried = carry_mask(tracked.carried, frame, self._flow)
            if carried is None:
                continue
            if apart[carried.prob > 0.5].mean() <= self.settings.most_mismatch:
                priors[obj_id] = _Prior(_logits(carried.prob), carried)
        failed = {
            obj_id: tracked
            for obj_id, tracked in objects.items()
            if tracked.is_there and obj_id not in priors
        }
        return frame, priors | self._searched(failed, now)

    def _searched(self, objects: Mapping[int, FollowedObject], now: SeenFrame) -> dict[int, _Prior]:
        """Where the tokens of objects see them: the strongest of the connected pieces of their maps."""
        known = {i: tracked.token for i, tracked in objects.items() if tracked.token is not None}
        if not known:
            return {}
        maps = now.placement.to_grid(now.token_maps(list(known.values())))
        priors = {}
        for obj_id, token_map in zip(known, maps, strict=True):
            count, pieces = cv2.connectedComponents((token_map > 0).astype(np.uint8), connectivity=8)
            if count > 1:
                strengths = np.bincount(pieces.ravel(), np.maximum(token_map, 0).ravel())
                others = (token_map > 0) & (pieces != int(strengths.argmax()))
                logits = np.where(others, np.float32(-CLIP), np.clip(CLIP * token_map, -CLIP, CLIP))
                priors[obj_id] = _Prior(logits, None)
        return priors

    def _answers(self, priors: Mapping[int, _Prior], now: SeenFrame) -> dict[int, _Answer]:
        """What the model answers to priors, all in one batch; the candidate nearest to each prior."""
        if not priors:
            return {}
        expected = now.placement.from_grid(np.stack([p.logits_gg for p in priors.values()]), -CLIP)
        prompts = [
            self._prompt(prior.logits_gg, low_res, now)
            for prior, low_res in zip(priors.values(), expected, strict=True)
        ]
        answered = zip(priors, now.ask(prompts), expected > 0, strict=True)
        return {obj_id: self._nearest(candidates, mask) for obj_id, candidates, mask in answered}

    def _prompt(self, prior_gg: FloatArray, prior_hw: FloatArray, now: SeenFrame) -> ImagePrompt:
        """What the model is told of a prior, which has at least one pixel."""
        mask = prior_gg > 0
        parts = self.settings.prompts or (["mask"] if now.draws_prompts else ["box", "point", "mask"])
        fed_back = now.fed_back(prior_hw) if "mask" in parts else None
        box = now.to_video_points(np.reshape(tight_box(mask), (2, 2))).ravel() if "box" in parts else None
        point = now.to_video_points(np.array([innermost(mask)]) + 0.5)
        if "point" not in parts and not (box is None and fed_back is None):
            return ImagePrompt.joined(box, mask_logits=fed_back)
        return ImagePrompt.joined(box, point, np.ones(1, np.int32), fed_back)

    def _nearest(self, candidates: Candidates, expected: BoolArray) -> _Answer:
        """The candidate that agrees best with a prior's mask, of those that the model offers."""
        share = self.settings.box_share
        offered = candidates.answer.best_first(multimask=True)
        masks = candidates.logits[offered] > 0
        agreements = [iou(mask, expected, if_both_empty=0) for mask in masks]
        of_boxes = [iou_of_boxes(mask, expected) for mask in masks]
        row = int(np.argmax((1 - share) * np.array(agreements) + share * np.array(of_boxes)))
        chosen = offered[row]
        return _Answer(candidates.logits[chosen], float(candidates.predicted_ious[chosen]), agreements[row])

    def _is_found(self, tracked: FollowedObject, answer: _Answer, now: SeenFrame) -> bool:
        """Whether the answer to a search is the lost object."""
        if answer.agreement < self.settings.sure_from or tracked.token is None:
            return False
        (token_map,) = now.token_maps([tracked.token])
        return float(token_map[answer.logits > 0].mean()) >= self.settings.find_response

    def _take(
        self, tracked: FollowedObject, answer: _Answer, prior: _Prior, now: SeenFrame, frame: FrameFeatures
    ) -> None:
        """Remember an object's answer on this frame."""
        low, high = self.settings.lost_below, self.settings.sure_from
        tracked.logits, tracked.quality = answer.logits, answer.quality
        # 0 where the object would be lost, 1 where it begins to be sure.
        tracked.score_logit = (answer.agreement - low) / (high - low)
        if tracked.carried is None:
            return
        if prior.along_flow is None:
            self.arrive(tracked, now)
            return
        (logits,) = now.placement.to_grid(tracked.logits[None])
        prob = 1 / (1 + np.exp(-np.clip(logits, -CLIP, CLIP)))
        take_mask(tracked.carried, prior.along_flow, prob.astype(np.float32), frame, self._flow)
        _forget_outline(tracked.carried)

    def _renew_tokens(self, sure: list[FollowedObject], now: SeenFrame) -> None:
        rate = self.settings.token_rate
        if not sure or not rate:
            return
        for tracked, fitted in zip(sure, self._fitted(sure, now), strict=True):
            assert tracked.token is not None
            tracked.token = np.float32(1 - rate) * tracked.token + np.float32(rate) * fitted

    def _fitted(self, objects: list[FollowedObject], seen: SeenFrame) -> list[FloatArray]:
        """Tokens whose maps are near 1 on the objects and near -1 elsewhere."""
        share_hw = seen.on_features(seen.placement.inside_hw[None])[0]
        inside_hw = share_hw > 0.5
        if not inside_hw.any():  # a picture of a few rows or columns fills no cell by more than half
            inside_hw = share_hw == share_hw.max()

        def fit(features_chw: Tensor, targets_nhw: Tensor) -> Tensor:
            tokens = fit_tokens(features_chw, targets_nhw, ridge=self.settings.ridge, inside_hw=inside_hw)
            return calibrated(tokens, features_chw, targets_nhw, inside_hw)

        return seen.fit([np.tanh(tracked.logits / 2) for tracked in objects], fit)


def _forget_outline(carried: TrackedObject) -> None:
    """Drop what `flow` finds lost objects by: tokens do that here, and their size never changes."""
    carried.shape = None


def _on_grid(tracked: FollowedObject, seen: SeenFrame) -> BoolArray:
    """An object's mask on the grid of pictures."""
    return seen.placement.to_grid(tracked.logits[None])[0] > 0


def _logits(prob: FloatArray) -> FloatArray:
    least = 1 / (1 + np.exp(CLIP))
    clipped = np.clip(prob, least, 1 - least)
    logits: FloatArray = np.log(clipped / (1 - clipped)).astype(np.float32)
    return logits
