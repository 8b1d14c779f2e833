"""The rule `nanosam`: the token's map says where the object is; no motion is used.

The prompt is the median point of the token's map, and the map itself as mask input; the candidate of the
highest predicted IoU is the answer, whatever it looks like.

Source: `Tracker` in nanosam/utils/tracker.py (github.com/NVIDIA-AI-IOT/nanosam, Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field

from vidseg.trackers.carrying.session import Picture
from vidseg.trackers.following.frame import SeenFrame
from vidseg.trackers.following.objects import LARGEST_SCORE, FollowedObject
from vidseg.trackers.following.token import fit_tokens_exactly
from vidseg.trackers.image.prompt import ImagePrompt
from vidseg.validation import Strict

if TYPE_CHECKING:
    from vidseg.trackers.contract import FloatArray


class NanoSamSettings(Strict):
    """What a YAML may say of `following: {name: nanosam}`; the defaults are NanoSAM's."""

    token_rate: float = Field(default=0.005, ge=0, le=1)
    """Share of the token that each frame renews."""


class NanoSam:
    """See the module; fulfils `vidseg.trackers.following.rules.FollowingRule`."""

    max_side = 448
    """Masks of users are taken on this grid; pictures are not compared."""

    def __init__(self, settings: NanoSamSettings) -> None:
        self.settings = settings

    def learn(self, tracked: FollowedObject, seen: SeenFrame) -> None:
        (tracked.token,) = seen.fit([tracked.logits], fit_tokens_exactly)

    def learn_ahead(self, tracked: FollowedObject, shown: FollowedObject, seen: SeenFrame) -> None:
        assert tracked.token is not None
        assert shown.token is not None
        tracked.token = np.float32(0.5) * (tracked.token + shown.token)

    def arrive(self, tracked: FollowedObject, seen: SeenFrame) -> None:
        """Nothing to do, as only the token is carried on."""

    def carry(self, objects: Mapping[int, FollowedObject], now: SeenFrame, before: Picture) -> None:
        tokens = [tracked.token for tracked in objects.values() if tracked.token is not None]
        maps = now.token_maps(tokens)
        prompts = [self._prompt(each, now) for each in maps]
        answers = iter(now.ask([prompt for prompt in prompts if prompt is not None]))
        seen = []
        for tracked, prompt in zip(objects.values(), prompts, strict=True):
            if prompt is None:
                tracked.lose()
                continue
            answer = next(answers)
            best = int(answer.answer.predicted_ious.argmax())
            tracked.logits, tracked.quality = answer.logits[best], float(answer.predicted_ious[best])
            tracked.score_logit = LARGEST_SCORE
            seen.append(tracked)
        if not seen:
            return
        rate = self.settings.token_rate
        fitted = now.fit([tracked.logits for tracked in seen], fit_tokens_exactly)
        for tracked, token in zip(seen, fitted, strict=True):
            assert tracked.token is not None
            tracked.token = np.float32(1 - rate) * tracked.token + np.float32(rate) * token

    def _prompt(self, token_map_hw: FloatArray, now: SeenFrame) -> ImagePrompt | None:
        """The median point of the map at the video's size, and the map; None for less than two pixels."""
        whole = now.placement.to_video(torch.from_numpy(token_map_hw[None]), now.size_hw)[0]
        ys, xs = np.nonzero((whole > 0).numpy())
        if len(xs) < 2:
            return None
        point = np.array([[np.median(xs), np.median(ys)]], np.float32)
        return ImagePrompt.joined(None, point, np.ones(1, np.int32), now.fed_back(token_map_hw))
