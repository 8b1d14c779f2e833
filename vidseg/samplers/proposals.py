"""The masks that a sampler holds while it works: cut to their boxes, one bit a pixel, scores beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.masks import box_xywh
from vidseg.samplers.found import Found

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.samplers.points import Crop

    Mask = npt.NDArray[np.bool_]


class CutMask:
    """A mask that is held as the bits inside its box, so that thousands of them fit into memory."""

    __slots__ = ("_bits", "box_xyxy")

    def __init__(self, mask: Mask) -> None:
        x, y, width, height = box_xywh(mask).astype(int).tolist()
        self.box_xyxy = (x, y, x + width, y + height)
        """First column and row, last column and row."""
        self._bits = np.packbits(mask[y : y + height + 1, x : x + width + 1], axis=1)

    def moved(self, x: int, y: int) -> CutMask:
        """The same mask in a picture whose pixel (x, y) is this one's origin."""
        moved = CutMask.__new__(CutMask)
        x0, y0, x1, y1 = self.box_xyxy
        moved.box_xyxy, moved._bits = (x0 + x, y0 + y, x1 + x, y1 + y), self._bits
        return moved

    def whole(self, size_hw: tuple[int, int]) -> Mask:
        """bool H x W."""
        x0, y0, x1, y1 = self.box_xyxy
        mask = np.zeros(size_hw, bool)
        mask[y0 : y1 + 1, x0 : x1 + 1] = np.unpackbits(self._bits, axis=1, count=x1 - x0 + 1)
        return mask


@dataclass(frozen=True, slots=True)
class Proposal:
    """One mask with its scores."""

    mask: CutMask
    predicted_iou: float
    stability: float
    point_xy: tuple[float, float] | None
    low_res_logits: npt.NDArray[np.float16] | None
    """1 x h x w, if the mask was found on the whole picture."""
    crop: Crop | None = None
    """The crop it was found on; None for the whole picture."""
    box_place: int | None = None
    """See `Found`."""

    def from_crop(self, crop: Crop) -> Proposal:
        """The proposal of a crop, in pixels of the whole picture."""
        x, y = crop.x0, crop.y0
        point = None if self.point_xy is None else (self.point_xy[0] + x, self.point_xy[1] + y)
        return replace(self, mask=self.mask.moved(x, y), point_xy=point, low_res_logits=None, crop=crop)

    def found(self, size_hw: tuple[int, int]) -> Found:
        """The public result: the mask in a picture of this size."""
        mask = self.mask.whole(size_hw)
        logits = None if self.low_res_logits is None else self.low_res_logits.astype(np.float32)
        return Found(
            mask,
            box_xywh(mask),
            self.predicted_iou,
            self.stability,
            logits,
            self.point_xy,
            self.box_place,
        )


def boxes_of(proposals: Sequence[Proposal]) -> npt.NDArray[np.float32]:
    """Boxes of the masks: N x 4, first column and row, last column and row."""
    return np.array([p.mask.box_xyxy for p in proposals], np.float32).reshape(-1, 4)


def scores_of(proposals: Sequence[Proposal]) -> npt.NDArray[Any]:
    """Predicted IoUs: float32 N."""
    return np.array([p.predicted_iou for p in proposals], np.float32)
