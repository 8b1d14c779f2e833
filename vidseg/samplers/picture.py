"""What a sampler asks of a picture. An embedding answers through a model, `propose` through a function.

Layouts: N prompts · K candidates · h w the decoder's grid · H W the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vidseg.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from vidseg.samplers.points import Crop

    Array = npt.NDArray[Any]

Decode = Callable[["Array"], tuple[Any, Any]]
"""Prompts in pixels of the picture (points float64 N x 2, or boxes N x 4) to logits (N, K, H, W) and
predicted IoUs (N, K); arrays or tensors."""


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """What an encoder made of a picture, and where its cells lie."""

    values_chw: Tensor
    """float32 C x h x w."""
    cell_wh: tuple[float, float]
    """Width and height of a cell in pixels of the picture; the first cell begins at the picture's origin.
    Where a model pads pictures, its last cells lie beyond the picture's edge."""
    weights_sha256: str | None = None
    """Digest of the weights of the model that made them; None where it is not known."""


class PromptedPicture(Protocol):
    """A picture, or a crop of one, that answers prompts. Coordinates are its own pixels."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Height and width of the decoder's grid."""
        ...

    @property
    def features(self) -> FeatureMap | None:
        """The encoder's output; None if there is no encoder, or none that sees the whole picture."""
        ...

    def at_points(self, points_xy: Array, least_first_iou: float = 0.0) -> tuple[Tensor, Tensor]:
        """The candidates for one point each: logits N x K x h x w and predicted IoUs N x K, float32.

        Args:
            least_first_iou: a model that answers in several steps need not go on with a point whose first
                answer predicts an IoU that is not above this.
        """
        ...

    def in_boxes(self, boxes_xyxy: Array) -> tuple[Tensor, Tensor]:
        """The single mask for one box each: logits N x 1 x h x w and predicted IoUs N x 1, float32."""
        ...

    def to_picture(self, logits_nhw: Tensor) -> Tensor:
        """Logits on the decoder's grid, resized to the picture: N x H x W."""
        ...

    def crop(self, crop: Crop) -> PromptedPicture:
        """A part of the picture as a picture of its own, encoded anew."""
        ...


class DecodedPicture:
    """A picture that is known by a function alone, which answers at the picture's size.

    Args:
        decode: see `Decode`.
        decode_crop: makes the function of a crop, which takes and returns what belongs to the crop's own
            pixels; None: crops are cut from what `decode` answers for the whole picture.
    """

    features = None

    def __init__(
        self,
        decode: Decode,
        size_hw: tuple[int, int],
        decode_crop: Callable[[Crop], Decode] | None = None,
    ) -> None:
        self._decode = decode
        self._decode_crop = decode_crop
        self.size_hw = size_hw

    @property
    def grid_hw(self) -> tuple[int, int]:
        return self.size_hw

    def at_points(self, points_xy: Array, least_first_iou: float = 0.0) -> tuple[Tensor, Tensor]:
        import torch

        logits, ious = (torch.as_tensor(x).float() for x in self._decode(points_xy))
        wanted = (len(points_xy), ious.shape[-1], *self.size_hw)
        if tuple(logits.shape) != wanted or tuple(ious.shape) != wanted[:2]:
            raise ConfigError(
                f"decode returned logits {tuple(logits.shape)} and IoUs {tuple(ious.shape)}",
                hint=f"for {len(points_xy)} prompts: (N, K, H, W) and (N, K), with H, W = {self.size_hw}",
            )
        return logits, ious

    def in_boxes(self, boxes_xyxy: Array) -> tuple[Tensor, Tensor]:
        return self.at_points(boxes_xyxy)

    def to_picture(self, logits_nhw: Tensor) -> Tensor:
        return logits_nhw

    def crop(self, crop: Crop) -> PromptedPicture:
        if self._decode_crop is not None:
            return DecodedPicture(self._decode_crop(crop), crop.size_hw)

        def cut(points_xy: Array) -> tuple[Any, Any]:
            logits, ious = self._decode(points_xy + np.array((crop.x0, crop.y0)))
            return logits[..., crop.y0 : crop.y1, crop.x0 : crop.x1], ious

        return DecodedPicture(cut, crop.size_hw)
