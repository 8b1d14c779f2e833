"""What a space-time model begins with when it is asked for an object by a box or clicks.

Layouts: R rows (objects) · P points · h w the low-res grid.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vidseg.trackers.space_time import prompt_maps
from vidseg.trackers.space_time.answer import KNOWN
from vidseg.trackers.space_time.correction import corrected
from vidseg.trackers.space_time.first_guess import first_guess
from vidseg.trackers.space_time.grids import LOW_RES_STRIDE


@dataclass(frozen=True, slots=True)
class Asked:
    """The beginning of an answer."""

    mask_rhw: Tensor
    """How likely each pixel is on the object, from 0 to 1."""
    known_rhw: Tensor | None = None
    """What is added to mask logits, if a mask is corrected; see `KNOWN`."""
    clicks_rhw: Tensor | None = None
    """Bool: clicks on the object, for first answers to clicks alone; or all that correct a mask."""
    beyond_rhw: Tensor | None = None
    """Bool: where the object cannot be, as it is beyond its box."""
    corrected_rhw: Tensor | None = None
    """Mask logits of the mask that clicks correct."""


def ask(
    pixels_r3hw: Tensor, points_rp2: Tensor, labels_rp: Tensor, previous_logits_rhw: Tensor | None
) -> Asked:
    """What to begin with: the previous mask, changed near clicks; or without one a guess at what is meant.

    Args:
        pixels_r3hw: RGB of the frame, from 0 to 255; one row if all objects share it.
        points_rp2, labels_rp: as of `prompt_maps.draw`.
    """
    height, width = pixels_r3hw.shape[-2:]
    finely = prompt_maps.draw(points_rp2, labels_rp, (height, width), LOW_RES_STRIDE)
    has_clicks = bool(((labels_rp == 0) | (labels_rp == 1)).any())
    asks_anew = bool((labels_rp == 2).any()) and not has_clicks  # the prompt is a box alone
    if previous_logits_rhw is not None and not asks_anew:
        so_far = previous_logits_rhw.sigmoid()
        mask = corrected(pixels_r3hw, so_far, points_rp2, labels_rp, LOW_RES_STRIDE)
        known = KNOWN * (mask - 0.5)
        if not has_clicks:
            return Asked(mask, known)
        return Asked(mask, known, finely[:, 1:].amax(dim=1) > 0.5, corrected_rhw=previous_logits_rhw)
    beyond = prompt_maps.beyond_box(points_rp2, labels_rp, (height, width), LOW_RES_STRIDE)
    box, clicks = finely[:, 0] > 0.5, finely[:, 1] > 0.5
    clicks &= ~box.flatten(1).any(dim=1)[:, None, None]  # with a box, nothing outside it is asked for
    return Asked(first_guess(pixels_r3hw, finely), None, clicks, beyond)
