"""The official conversion of pictures and coordinates (segment_anything/utils/transforms.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidseg.compat.calls import as_array
from vidseg.trackers.image.framing import scaled_to_side

Size = tuple[int, int]


class ResizeLongestSide:
    """Resizes the long side of pictures to `target_length` pixels, and coordinates on them likewise.

    Sizes are (height, width), coordinates (x, y) in pixels of the picture; boxes are (x0, y0, x1, y1).
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """uint8 H x W x 3, resized."""
        height, width = self.get_preprocess_shape(image.shape[0], image.shape[1], self.target_length)
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def apply_coords(self, coords: Any, original_size: Size) -> npt.NDArray[np.float64]:
        """Coordinates ... x 2 on the resized picture."""
        return as_array(coords, np.float64) * self._ratios(original_size)

    def apply_boxes(self, boxes: Any, original_size: Size) -> npt.NDArray[np.float64]:
        """Boxes B x 4 on the resized picture."""
        return self.apply_coords(as_array(boxes, np.float64).reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """Float B x C x H x W, resized; not to the bit what `apply_image` gives, which models expect."""
        size = self.get_preprocess_shape(image.shape[2], image.shape[3], self.target_length)
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(self, coords: Tensor, original_size: Size) -> Tensor:
        """`apply_coords` of a tensor; float32."""
        return coords.float() * coords.new_tensor(self._ratios(original_size), dtype=coords.float().dtype)

    def apply_boxes_torch(self, boxes: Tensor, original_size: Size) -> Tensor:
        """`apply_boxes` of a tensor; float32."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> Size:
        """The size of a resized picture."""
        return scaled_to_side((oldh, oldw), long_side_length)

    def _ratios(self, original_size: Size) -> npt.NDArray[np.float64]:
        height, width = original_size
        new_height, new_width = self.get_preprocess_shape(height, width, self.target_length)
        return np.array([new_width / width, new_height / height])
