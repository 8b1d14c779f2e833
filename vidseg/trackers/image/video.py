"""Video models as image models: each frame is the first one, so that no memory is read.

This is the one place where image models meet the video models' methods.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vidseg.trackers.build import EngineSettings
from vidseg.trackers.image.framing import Framing, Stretch
from vidseg.trackers.image.model import Encoded
from vidseg.trackers.mask_decoder import STABILITY_THRESHOLD, Candidates, stability
from vidseg.trackers.model import Features, VideoModel
from vidseg.trackers.space_time.model import SpaceTimeModel


class _WithoutMemory:
    """What both kinds of video model share."""

    feedback_limit: float | None = 32.0

    def __init__(self, model: VideoModel | SpaceTimeModel, framing: Framing) -> None:
        self.model = model
        self.framing = framing

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def low_res_size(self) -> int:
        return self.model.low_res_size

    def encode(self, images_b3ss: Tensor) -> list[Encoded]:
        every = self.model.encode_batch(images_b3ss)
        rows = [
            Features([maps[row : row + 1] for maps in every.high_res], every.top_1chw[row : row + 1])
            for row in range(len(images_b3ss))
        ]
        return [Encoded(features, self.model.attend(features, None, 1)) for features in rows]

    def candidates(
        self, encoded: Encoded, points_np2: Tensor, labels_np: Tensor, previous_logits_nhw: Tensor | None
    ) -> Candidates:
        return self.model.candidates(
            encoded.features,
            encoded.conditioned_1chw.expand(len(points_np2), -1, -1, -1),
            points_bp2=points_np2,
            labels_bp=labels_np,
            previous_logits_bhw=previous_logits_nhw,
        )


class Sam2Images(_WithoutMemory):
    """SAM 2 and its family; equal to the official `SAM2ImagePredictor` (sam2/sam2_image_predictor.py)."""

    def num_prompt_tokens(self, labels_np: Tensor) -> int:
        # The prompt encoder pads every prompt but one without points.
        return labels_np.shape[1] + 1 if labels_np.shape[1] else 0

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        # The first candidate is the single mask, the others are the alternatives.
        alternatives = (predicted_ious_k[1:].argsort(descending=True, stable=True) + 1).tolist()
        if multimask:
            return list(alternatives)
        return [0] if stability(logits_khw[0]) >= STABILITY_THRESHOLD else alternatives[:1]


class SpaceTimeImages(_WithoutMemory):
    """The space-time model: prompts are drawn, not tokens, and there is one mask."""

    def candidates(
        self, encoded: Encoded, points_np2: Tensor, labels_np: Tensor, previous_logits_nhw: Tensor | None
    ) -> Candidates:
        if not labels_np.shape[1]:  # a point that draws nothing: there is no drawing of no points
            points_np2 = points_np2.new_zeros(len(points_np2), 1, 2)
            labels_np = labels_np.new_full((len(labels_np), 1), -1)
        return super().candidates(encoded, points_np2, labels_np, previous_logits_nhw)

    def num_prompt_tokens(self, labels_np: Tensor) -> int:
        return 0

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        return [0]


def of_video_model(
    model: VideoModel | SpaceTimeModel, settings: EngineSettings
) -> Sam2Images | SpaceTimeImages:
    """A video model's image half.

    Models of the SAM 2 family see pictures as the official image predictor resizes them, our own ones as they
    were trained.
    """
    resize = "bicubic" if settings.family == "own" else "bilinear"
    kind = Sam2Images if settings.space_time is None else SpaceTimeImages
    return kind(model, Stretch(model.image_size, resize))  # type: ignore[arg-type]
