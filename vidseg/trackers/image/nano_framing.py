"""NanoSAM's way from a picture to its input and back.

Source: nanosam/utils/predictor.py (github.com/NVIDIA-AI-IOT/nanosam, Apache-2.0); its arithmetic alone
was read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidseg.trackers.image_encoder import normalise


@dataclass(frozen=True)
class NanoFraming:
    """A framing like `LongSide`, but sizes are truncated and not rounded, both axes of points have one scale,
    and masks are cropped on the low-res grid and resized once; fulfils `Framing`."""

    size: int
    """S, the side of the model's input."""

    def model_input(self, image: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        height, width = _inside(image.shape[0], image.shape[1], self.size)
        resized = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        pixels = normalise(torch.from_numpy(resized).to(device).permute(2, 0, 1))
        return F.pad(pixels, (0, self.size - width, 0, self.size - height))

    def to_model_points(self, points_xy: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return (points_xy.double() * (self.size / max(size_hw))).float()

    def to_picture(self, low_res_logits_khw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        height, width = _inside(*size_hw, low_res_logits_khw.shape[-1])
        cropped = low_res_logits_khw[None, :, :height, :width]
        return F.interpolate(cropped, size_hw, mode="bilinear", align_corners=False)[0]


def _inside(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of a picture whose long side is `side`; at least 1."""
    if width >= height:
        return max(1, int(side / (width / height))), side
    return side, max(1, int(side * (width / height)))
