"""Converts pictures to a model's input, and the model's answers back to the picture.

Families of models differ here more than in their layers: some stretch pictures to a square, some keep the
aspect ratio and pad; filters, rounding and the resizing of logits differ too. A framing is one such way. It
is no part of the model, so that another family needs only another small class.

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
    """The conversion of one family, from pictures to model inputs and back."""

    def model_input(self, image: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        """The input of the encoder for a picture.

        Args:
            image: uint8 H x W x 3, RGB.

        Returns:
            float32 3 x S x S, normalised.
        """
        ...

    def to_model_points(self, points_xy: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Points (... x 2) in pixels of the picture, converted to pixels of the model's input; float32."""
        ...

    def to_picture(self, low_res_logits_khw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Mask logits on the decoder's grid, resized to the picture: float32 K x H x W."""
        ...


@dataclass(frozen=True)
class Stretch:
    """Pictures are stretched to a square; the aspect ratio is lost, and nothing is padded."""

    size: int
    """S, the side of the model's input."""
    filter: Literal["bilinear", "bicubic"]
    """'bilinear': antialiased, in float32, as in SAM 2's image predictor (sam2/utils/transforms.py).
    'bicubic': Pillow's, on integers, as in SAM 2's loader of folders and in our own training."""

    def model_input(self, image: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        size = (self.size, self.size)
        if self.filter == "bicubic":
            image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
            return normalise(torch.from_numpy(image).to(device).permute(2, 0, 1))
        # Copied, because arrays may have negative strides (a picture converted from BGR).
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
