"""Converts pictures to a model's input, and the model's answers back to the picture.

Families of models differ here more than in their layers: some stretch pictures to a square, some keep the
aspect ratio and pad; filters, rounding and the resizing of logits differ too. A framing is one such way. It
is no part of the model, so that another family needs only another small class.

Layouts: S side of the model's input · K masks · h w the low-res grid · H W the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidseg.trackers.image_encoder import IMAGE_MEAN, IMAGE_STD, normalise

if TYPE_CHECKING:
    from vidseg.trackers.image.prompt import ImagePrompt


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


@runtime_checkable
class PartialFraming(Framing, Protocol):
    """The conversion of a family whose model sees another part of the picture for each prompt."""

    def about(self, prompt: ImagePrompt, size_hw: tuple[int, int]) -> Framing:
        """The conversion of the answer to one prompt."""
        ...


@dataclass(frozen=True)
class Stretch:
    """Pictures are stretched to a square; the aspect ratio is lost, and nothing is padded."""

    size: int
    """S, the side of the model's input."""
    filter: Literal["bilinear", "bicubic"]
    """'bilinear': in float32, as in SAM 2's image predictor (sam2/utils/transforms.py).
    'bicubic': Pillow's, on integers, as in SAM 2's loader of folders and in our own training."""
    antialias: bool = True
    """Whether 'bilinear' reads all pixels of a larger picture; EfficientSAM's does not."""
    mask_filter: Literal["bilinear", "bicubic"] = "bilinear"
    """How logits are resized to the picture; EfficientSAM's are so by 'bicubic'."""

    def model_input(self, image: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        size = (self.size, self.size)
        if self.filter == "bicubic":
            image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
            return normalise(torch.from_numpy(image).to(device).permute(2, 0, 1))
        # Copied, because arrays may be read-only, or have negative strides (a picture converted from BGR).
        pixels = torch.from_numpy(np.array(image, order="C")).to(device).permute(2, 0, 1)[None].float() / 255
        resized = F.interpolate(
            pixels, size=size, mode="bilinear", align_corners=False, antialias=self.antialias
        )[0]
        mean, std = (torch.tensor(c, device=device)[:, None, None] for c in (IMAGE_MEAN, IMAGE_STD))
        return (resized - mean) / std

    def to_model_points(self, points_xy: Tensor, size_hw: tuple[int, int]) -> Tensor:
        width_height = points_xy.new_tensor([size_hw[1], size_hw[0]])
        return points_xy / width_height * self.size

    def to_picture(self, low_res_logits_khw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        resized = F.interpolate(
            low_res_logits_khw[None], size=size_hw, mode=self.mask_filter, align_corners=False
        )
        return resized[0]


@dataclass(frozen=True)
class LongSide:
    """The picture's long side becomes the input's side; zeros fill the rest, after normalisation.

    Source: SAM's `ResizeLongestSide` and `Sam.preprocess` and `postprocess_masks`.
    """

    size: int
    """S, the side of the model's input."""
    prompt_size: int | None = None
    """Side of the square on which points are placed and masks are cropped, where it is not the input's:
    EfficientViT-SAM's small models encode 512 pixels and place points on 1024."""
    filter: Literal["bilinear", "bicubic"] = "bilinear"
    """Pillow's, on integers."""

    def model_input(self, image: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        height, width = scaled_to_side(image.shape[:2], self.size)
        how = Image.Resampling[self.filter.upper()]
        resized = np.array(Image.fromarray(image).resize((width, height), how))
        return self.framed(torch.from_numpy(resized).to(device).permute(2, 0, 1))

    def framed(self, pixels_3hw: Tensor) -> Tensor:
        """A resized picture, with values from 0 to 255, as the model's input."""
        height, width = pixels_3hw.shape[1:]
        return F.pad(normalise(pixels_3hw), (0, self.size - width, 0, self.size - height))

    def to_model_points(self, points_xy: Tensor, size_hw: tuple[int, int]) -> Tensor:
        side = self.prompt_size or self.size
        height, width = scaled_to_side(size_hw, side)
        ratio = torch.tensor([width / size_hw[1], height / size_hw[0]], dtype=torch.float64)
        return (points_xy.double() * ratio * (self.size / side)).float()

    def to_picture(self, low_res_logits_khw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        side = self.prompt_size or self.size
        height, width = scaled_to_side(size_hw, side)
        # In two steps, as SAM does it: one alone differs at the edges of masks.
        whole = F.interpolate(low_res_logits_khw[None], (side, side), mode="bilinear", align_corners=False)
        cropped = whole[..., :height, :width]
        return F.interpolate(cropped, size_hw, mode="bilinear", align_corners=False)[0]


def scaled_to_side(size_hw: Sequence[int], side: int) -> tuple[int, int]:
    """Height and width of a picture whose long side becomes `side`, rounded as SAM does it, to 1 at least."""
    scale = side / max(size_hw)
    return max(int(size_hw[0] * scale + 0.5), 1), max(int(size_hw[1] * scale + 0.5), 1)
