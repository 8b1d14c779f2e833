"""An image model that knows the truth: what is left to judge is how it is asked, and what is made of it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidseg.trackers.image.framing import Stretch
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.image_encoder import pixels_of
from vidseg.trackers.model import Candidates, Features

SIDE = 256
"""Side of the model's input."""
LOW_RES_SIDE = 128


class Oracle(nn.Module):
    """Answers a prompt with the true mask of the object at its last point; else with no mask.

    Two worse candidates, of which the model thinks better, stand beside the true one: all objects together,
    and a disk about the point. Its features are colours.
    """

    takes_decoded = False
    feedback_limit = 32.0
    image_size = SIDE
    low_res_size = LOW_RES_SIDE
    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.truth: npt.NDArray[np.uint8] = np.zeros((2, 2), np.uint8)
        """The label map of the frame that is asked about."""
        self.batches: list[int] = []
        """How many prompts each run of the decoder answered."""

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        cells = F.avg_pool2d(pixels_of(images_b3ss) / 255, 8)
        return Features([], torch.cat((cells, cells**2, cells.roll(1, 1) * cells), dim=1))

    def without_memory(self, features: Features) -> Tensor:
        return features.top_1chw

    def candidates(
        self, features: Features, conditioned_bchw: Tensor, *, points_bp2: Tensor, labels_bp: Tensor, **_: Any
    ) -> Candidates:
        self.batches.append(len(points_bp2))
        rows = [
            self._row(points[-1].tolist() if labels[-1] == 1 else points.mean(0).tolist())
            for points, labels in zip(points_bp2, labels_bp, strict=True)
        ]
        logits = torch.from_numpy(np.stack(rows))
        ious = torch.tensor([[0.95, 0.7, 0.9]]).expand(len(rows), -1)
        return Candidates(logits, ious, torch.zeros(len(rows), 3, 1), torch.ones(len(rows)))

    def num_prompt_tokens(self, labels_bp: Tensor) -> int:
        return labels_bp.shape[1]

    def best_first(self, logits_khw: Tensor, predicted_ious_k: Tensor, *, multimask: bool) -> list[int]:
        return predicted_ious_k.argsort(descending=True).tolist() if multimask else [1]

    def _row(self, point_xy: list[float]) -> npt.NDArray[np.float32]:
        height, width = self.truth.shape
        x, y = point_xy[0] / SIDE * width, point_xy[1] / SIDE * height
        obj_id = self.truth[min(int(y), height - 1), min(int(x), width - 1)]
        disk = np.zeros(self.truth.shape, np.uint8)
        cv2.circle(disk, (int(x), int(y)), 12, 1, -1)
        own = (self.truth == obj_id) & (obj_id > 0)
        return np.stack([self._low_res(mask) for mask in (self.truth > 0, own, disk > 0)])

    def _low_res(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        size = (LOW_RES_SIDE, LOW_RES_SIDE)
        share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return (20 * share - 10).astype(np.float32)


def oracle() -> tuple[Oracle, ImageSegmenter]:
    """The model, and the segmenter around it."""
    model = Oracle()
    return model, ImageSegmenter("oracle", model, Stretch(SIDE, "bilinear"))
