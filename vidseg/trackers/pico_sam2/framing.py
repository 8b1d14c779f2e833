"""Which square of the picture PicoSAM2 sees for a prompt, and where its answer lies in the picture.

Source: the data set in PicoSAM2's training code (github.com/pbonazzi/picosam2, Apache-2.0), whose prompt is
the middle of the square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.errors import PromptError
from vidseg.trackers.image_encoder import normalise

if TYPE_CHECKING:
    from vidseg.trackers.image.prompt import ImagePrompt

OUTSIDE_LOGIT = -32.0
"""The logit of pixels outside the square, of which the network says nothing."""


@dataclass(frozen=True)
class Square:
    """A part of a picture, in pixels; at the right and the lower border it is cut off."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def about(cls, centre_xy: tuple[float, float], side: int, size_hw: tuple[int, int]) -> Square:
        """The square with this side around a point of the picture."""
        left, top = (max(0, int(along) - side // 2) for along in centre_xy)
        return cls(left, top, min(size_hw[1], left + side), min(size_hw[0], top + side))


def centre_of(points_xy: Tensor, labels: Tensor) -> tuple[float, float]:
    """The middle of what a prompt asks for: of its box if it has one, else of its points on the object.

    Args:
        points_xy: float32 P x 2, pixels of the picture; corners of a box have labels 2 and 3.
        labels: int32 P.

    Raises:
        PromptError: it has neither.
    """
    is_corner = labels >= 2
    chosen = is_corner if is_corner.any() else labels == 1
    if not chosen.any():
        raise PromptError("a prompt without a place", hint="pico-sam2 takes a point on the object, or a box")
    x, y = points_xy[chosen].mean(0).tolist()
    return x, y


@dataclass(frozen=True)
class WholePicture:
    """Pictures at their own scale; see `vidseg.trackers.image.framing.PartialFraming`."""

    size: int = 96
    """Side of the square, in pixels of the picture."""

    def model_input(self, image: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        """The normalised picture, 3 x H x W: squares are cut from it when a prompt says where."""
        # Copied, because arrays may be read-only, or have negative strides (a picture converted from BGR).
        pixels = torch.from_numpy(np.array(image, order="C")).to(device)
        return normalise(pixels.permute(2, 0, 1))

    def to_model_points(self, points_xy: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return points_xy

    def to_picture(self, low_res_logits_khw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Logits of the whole picture; see `about` for those of an answer."""
        return F.interpolate(low_res_logits_khw[None], size_hw, mode="bilinear", align_corners=False)[0]

    def about(self, prompt: ImagePrompt, size_hw: tuple[int, int]) -> PlacedSquare:
        """The framing of the answer to a prompt."""
        centre = centre_of(torch.from_numpy(prompt.points_xy), torch.from_numpy(prompt.labels))
        return PlacedSquare(self.size, Square.about(centre, self.size, size_hw))


@dataclass(frozen=True)
class PlacedSquare(WholePicture):
    """Answers that lie in a square of the picture."""

    square: Square = Square(0, 0, 96, 96)

    def to_picture(self, low_res_logits_khw: Tensor, size_hw: tuple[int, int]) -> Tensor:
        square = self.square
        inner = (square.bottom - square.top, square.right - square.left)
        resized = F.interpolate(low_res_logits_khw[None], inner, mode="bilinear", align_corners=False)[0]
        whole = resized.new_full((len(resized), *size_hw), OUTSIDE_LOGIT)
        whole[:, square.top : square.bottom, square.left : square.right] = resized
        return whole
