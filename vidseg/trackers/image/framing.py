"""How a picture becomes a model's input, and how the model's answer comes back to the picture.

Families differ here more than in their layers: some stretch pictures to a square, some keep the aspect ratio
and pad; filters, rounding and the way of logits back differ too. A framing is one such way, apart from the
model, so that a family of another way is another small class.

Layouts: S side of the model's input · K masks · h w the low-res grid · H W the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidseg.trackers.image_encoder import IMAGE_MEAN, IMAGE_STD, normalise


class Framing(Protocol):
    """One family's way from pictures to model inputs and back."""

    def model_input(self, image: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        """What the encoder takes of a picture.

        Args:
            image: uint8 H x W x 3, RGB.

        Returns:
            float32 3 x S x S, normalised.
        """
        ...

    def to_model_points(self, points_xy: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Points in pixels of the picture to pixels of the model's input; float32, ... x 2."""
        ...

    def to_picture(self, low_res_logits_khw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Mask logits on the decoder's grid to the picture's size: float32 K x H x W."""
        ...


@dataclass(frozen=True)
class Stretch:
    """Pictures are stretched to a square; the aspect ratio is lost, and nothing is padded."""

    size: int
    """S."""
    filter: Literal["bilinear", "bicubic"]
    """'bilinear': antialiased, in float32, as SAM 2's image predictor does it (sam2/utils/transforms.py).
    'bicubic': Pillow's, in whole numbers, as SAM 2's loader of folders and our own training do it."""

    def model_input(self, image: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        size = (self.size, self.size)
        if self.filter == "bicubic":
            image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
            return normalise(torch.from_numpy(image).to(device).permute(2, 0, 1))
        # A copy, because arrays may be views with negative strides (a picture turned from BGR).
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float() / 255
        resized = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)[0]
        mean, std = (torch.tensor(c, device=device)[:, None, None] for c in (IMAGE_MEAN, IMAGE_STD))
        return (resized - mean) / std

    def to_model_points(self, points_xy: Tensor, size_hw: tuple[int, int]) -> Tensor:
        width_height = points_xy.new_tensor([size_hw[1], size_hw[0]])
        return points_xy / width_height * self.size

    def to_picture(self, low_res_logits_khw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        resized = F.interpolate(low_res_logits_khw[None], size=size_hw, mode="bilinear", align_corners=False)
        return resized[0]
