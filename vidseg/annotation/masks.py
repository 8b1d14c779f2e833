"""A mask as a project keeps it: COCO's RLE with what is known of it; and drawing in masks by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from vidseg.errors import PromptError
from vidseg.pipeline.writers.rle import decode_rle, encode_rle
from vidseg.trackers.label_map import mask_boxes

if TYPE_CHECKING:
    import numpy.typing as npt

    BoolArray = npt.NDArray[np.bool_]

Kind = Literal["v", "u", "a", "P", "D", "X"]
"""v, u, a: tracked, and visible, uncertain or absent; P: answered from clicks or a box; D: drawn by hand;
X: set absent by a person."""
KIND_OF_STATE: dict[str, Kind] = {"visible": "v", "uncertain": "u", "absent": "a"}

_SUB_PIXEL_BITS = 4


@dataclass(frozen=True, kw_only=True)
class Mask:
    """One object's mask on one frame."""

    frame_idx: int
    obj_id: int
    kind: Kind
    time_s: float
    """Presentation time of the frame in seconds."""
    counts: str
    """Run lengths as COCO's RLE writes them."""
    score: float
    """The tracker's confidence, 0 to 1; 1 for what was drawn by hand."""
    area: int
    """Number of pixels."""
    box: tuple[int, int, int, int]
    """(x, y, w, h) in pixels; all 0 for an empty mask."""
    hidden: str | None = None
    """Run lengths of the pixels that another object has in a label map; see `vidseg.trackers.label_map`."""
    reverse: bool = False
    """Whether it was tracked backward."""

    @classmethod
    def of(
        cls,
        pixels: BoolArray,
        frame_idx: int,
        obj_id: int,
        kind: Kind,
        *,
        time_s: float,
        score: float = 1.0,
        hidden: BoolArray | None = None,
        reverse: bool = False,
    ) -> Mask:
        """Encode bool (H, W)."""
        (box,) = mask_boxes(pixels[None])
        return cls(
            frame_idx=frame_idx,
            obj_id=obj_id,
            kind=kind,
            time_s=time_s,
            counts=encode_rle(pixels)["counts"],
            score=round(float(score), 4),
            area=int(np.count_nonzero(pixels)),
            box=box,
            hidden=encode_rle(hidden)["counts"] if hidden is not None and hidden.any() else None,
            reverse=reverse,
        )

    @property
    def is_tracked(self) -> bool:
        """Whether it was tracked into its frame, and not answered or drawn there."""
        return self.kind in ("v", "u", "a")

    def pixels(self, size_hw: tuple[int, int]) -> BoolArray:
        """bool (H, W)."""
        return decode_rle({"size": size_hw, "counts": self.counts})


def fill_polygon(pixels: BoolArray, points: Sequence[Sequence[float]], mode: str) -> BoolArray:
    """The mask with a polygon filled in it.

    Args:
        points: at least three [x, y], in pixels; the last one is joined with the first.
        mode: 'replace' the mask, 'add' to it or 'erase' from it.

    Raises:
        PromptError: fewer than three points.
    """
    if len(points) < 3:
        raise PromptError(f"a lasso of {len(points)} points", hint="draw around the object")
    layer = np.zeros(pixels.shape, np.uint8)
    cv2.fillPoly(layer, [_fixed_point(points)], 1, shift=_SUB_PIXEL_BITS)
    drawn = layer.view(np.bool_)
    return drawn if mode == "replace" else _combined(pixels, drawn, mode)


def draw_stroke(
    pixels: BoolArray, points: Sequence[Sequence[float]], radius_px: float, mode: str
) -> BoolArray:
    """The mask with a stroke of a round brush added, or erased.

    Args:
        points: the way of the brush's centre, [x, y] in pixels; one point gives a disk.
        mode: 'add' or 'erase'.
    """
    layer = np.zeros(pixels.shape, np.uint8)
    way = _fixed_point(points)
    scale = 1 << _SUB_PIXEL_BITS
    cv2.polylines(layer, [way], False, 1, thickness=max(1, round(2 * radius_px)), shift=_SUB_PIXEL_BITS)
    for x, y in way[[0, -1], :].tolist():
        cv2.circle(layer, (x, y), max(1, round(radius_px * scale)), 1, -1, shift=_SUB_PIXEL_BITS)
    return _combined(pixels, layer.view(np.bool_), mode)


def _fixed_point(points: Sequence[Sequence[float]]) -> npt.NDArray[np.int32]:
    """Coordinates of pixel edges as OpenCV's fixed-point numbers, which count from pixel centres."""
    centred = np.asarray(points, np.float64).reshape(-1, 2) - 0.5
    return np.rint(centred * (1 << _SUB_PIXEL_BITS)).astype(np.int32)


def _combined(pixels: BoolArray, drawn: BoolArray, mode: str) -> BoolArray:
    return pixels & ~drawn if mode == "erase" else pixels | drawn
