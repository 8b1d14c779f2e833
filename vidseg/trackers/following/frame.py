"""A frame that went through the encoder once, and what rules of following ask of it.

Layouts: N objects · C channels · h w the low-res grid · G the grid on which pictures are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.trackers.carrying.session import Seen
from vidseg.trackers.following.placement import Placement
from vidseg.trackers.following.token import token_maps
from vidseg.trackers.image.answer import Answer
from vidseg.trackers.image.embedding import Embedding
from vidseg.trackers.image.prompt import ImagePrompt

if TYPE_CHECKING:
    from vidseg.trackers.contract import FloatArray


Watch = Callable[[Literal["encode", "decode"]], AbstractContextManager[Any]]
"""Entered around each stage of a frame in which the model computes; benchmarks put a clock here."""


@dataclass(frozen=True)
class Candidates:
    """The decoder's answer to one prompt, on the low-res grid."""

    answer: Answer
    logits: FloatArray
    """float32 K x h x w."""
    predicted_ious: FloatArray
    """float32 K: from 0 to 1."""

    def best(self, *, multimask: bool) -> int:
        """The candidate that the model's family answers with."""
        return self.answer.best_first(multimask=multimask)[0]


@dataclass(frozen=True)
class SeenFrame(Seen):
    """A frame as an image model sees it."""

    embedding: Embedding
    placement: Placement
    feedback_limit: float
    """Mask logits that are fed back are clamped to plus and minus this; 0: they cannot be fed back."""
    draws_prompts: bool
    """Whether the model draws points and boxes, and makes no tokens of them."""
    watch: Watch
    """Entered around a run of the decoder."""

    @property
    def features_chw(self) -> Tensor:
        return self.embedding.encoded.top_1chw[0]

    def ask(self, prompts: Sequence[ImagePrompt]) -> list[Candidates]:
        """The decoder's answers; prompts of one shape go through it in one batch."""
        with self.watch("decode"):
            answers = self.embedding.answers(prompts)
        return [
            Candidates(
                answer,
                self.placement.answered(answer),
                # SAM's estimate may lie outside of 0 to 1.
                np.clip(np.nan_to_num(answer.predicted_ious), 0, 1),
            )
            for answer in answers
        ]

    def fed_back(self, logits_hw: FloatArray) -> Tensor | None:
        """Mask logits as the decoder takes them back; None if it takes none."""
        limit = self.feedback_limit
        return torch.from_numpy(logits_hw).clamp(-limit, limit) if limit > 0 else None

    def to_video_points(self, points_xy: npt.NDArray[np.floating]) -> FloatArray:
        """Points (... x 2) on the grid of pictures, in pixels of the video; edges of pixels."""
        height, width = self.picture.shape[:2]
        scale = np.array([self.size_hw[1] / width, self.size_hw[0] / height])
        return (points_xy * scale).astype(np.float32)

    def on_features(self, maps_nhw: npt.NDArray[np.generic]) -> Tensor:
        """Low-res maps on the grid of the features: float32 N x H x W, area means."""
        maps = torch.from_numpy(maps_nhw.astype(np.float32)).to(self.features_chw.device)
        size = self.features_chw.shape[1:]
        return F.interpolate(maps[:, None], size=size, mode="area")[:, 0]

    def token_maps(self, tokens: Sequence[FloatArray]) -> FloatArray:
        """What tokens say of every low-res cell: N x h x w."""
        maps = token_maps(self.features_chw, torch.from_numpy(np.stack(tokens)).to(self.features_chw.device))
        resized = F.interpolate(maps[:, None], size=self.placement.low_hw, mode="bilinear")
        return resized[:, 0].cpu().numpy()

    def fit(self, targets: Sequence[FloatArray], how: Callable[[Tensor, Tensor], Tensor]) -> list[FloatArray]:
        """Tokens of objects.

        Args:
            targets: low-res maps that the tokens' maps shall resemble.
            how: makes tokens of C x H x W features and of N x H x W targets.
        """
        return list(how(self.features_chw, self.on_features(np.stack(targets))).cpu().numpy())
