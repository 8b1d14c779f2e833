"""A mask that was found in a picture: the public result of samplers and of prompts on pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One mask of a picture, with its scores."""

    mask: npt.NDArray[np.bool_]
    """bool (H, W)."""
    box_xywh: npt.NDArray[np.float32]
    """float32 (4,): first column and row of the mask, and the distances of its last ones from them, as in
    SAM's mask generator; 0 for an empty mask. A COCO box is one pixel wider and higher."""
    predicted_iou: float
    """The model's own estimate of the mask's quality; a guess, not the metric."""
    stability: float
    """IoU of the mask cut at logits of +1 and of -1, at the picture's size: 1 where its edge is sharp."""
    low_res_logits: npt.NDArray[np.float32] | None
    """float32 (1, h, w): mask logits (before sigmoid) on the decoder's grid; `mask_logits=` takes them back.
    None where the mask was found on a crop of the picture, whose grid is another one. A sampler keeps them
    in half precision."""
    point_xy: tuple[float, float] | None
    """The first point of the prompt, in pixels of the picture; None for a prompt without points."""
    box_place: int | None = None
    """The place of the mask's box among those that the sampler `boxes` was given; None for other samplers."""
