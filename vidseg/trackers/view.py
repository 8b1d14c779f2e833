"""A part of a picture that fills a model's whole input, so that what is small there is seen larger.

Layouts: N objects · h w the low-res grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.trackers.contract import Frame, Prompt
from vidseg.trackers.given_frame import computed_once
from vidseg.trackers.model import MASK_LOGIT_BIAS

OUTSIDE = MASK_LOGIT_BIAS
"""The mask logit of what lies outside of the part that was looked at."""


@dataclass(frozen=True, slots=True)
class View:
    """A part of a picture, in its pixels; right and bottom edges are exclusive."""

    left: int
    top: int
    right: int
    bottom: int
    size_hw: tuple[int, int]
    """Height and width of the whole picture."""

    @classmethod
    def whole(cls, size_hw: tuple[int, int]) -> View:
        return cls(0, 0, size_hw[1], size_hw[0], size_hw)

    @property
    def is_whole(self) -> bool:
        return self == View.whole(self.size_hw)

    @property
    def part_hw(self) -> tuple[int, int]:
        """Height and width of the part."""
        return self.bottom - self.top, self.right - self.left

    def is_alike(self, other: View, factor: float) -> bool:
        """Whether it is at most `factor` times as wide as another view, or as narrow."""
        return 1 / factor <= self.part_hw[1] / other.part_hw[1] <= factor

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns of the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def to_json(self) -> list[int]:
        return [self.left, self.top, self.right, self.bottom, *self.size_hw]

    @classmethod
    def of_json(cls, numbers: Sequence[int]) -> View:
        left, top, right, bottom, height, width = numbers
        return cls(left, top, right, bottom, (height, width))

    def on(self, size_hw: tuple[int, int]) -> View:
        """This part in a picture of another size, whose edges it does not pass."""
        (height, width), (own_height, own_width) = size_hw, self.size_hw
        left, top = self.left * width // own_width, self.top * height // own_height
        # Whole numbers, rounded up: a product of floats may be a little more than the picture's side.
        right, bottom = -(-self.right * width // own_width), -(-self.bottom * height // own_height)
        return View(left, top, right, bottom, size_hw)

    def of(self, frame: Frame) -> Frame:
        """What a frame shows in this part; the frame itself if that is all of it.

        A frame that keeps what is computed of it keeps its parts, too, and these what is computed of them.
        """
        if self.is_whole:
            return frame
        return computed_once(frame, self, lambda: self._cut(frame))

    def _cut(self, frame: Frame) -> Frame:
        assert frame.image is not None
        part = np.ascontiguousarray(frame.image[self.pixels])
        return Frame(frame.index, frame.pts_seconds, part, kept=None if frame.kept is None else {})

    def holds(self, prompt: Prompt) -> bool:
        """Whether all of a prompt lies in this part."""
        if prompt.mask is not None:
            return int(prompt.mask[self.pixels].sum()) == int(prompt.mask.sum())
        points = prompt.points_xy
        if prompt.box is not None:
            points = np.concatenate((points, prompt.box.reshape(2, 2)))
        low, high = (self.left, self.top), (self.right, self.bottom)
        return bool((points >= low).all() and (points <= high).all())

    def prompt_here(self, prompt: Prompt) -> Prompt:
        """A prompt in pixels of this part."""
        if self.is_whole:
            return prompt
        corner = np.array([self.left, self.top], np.float32)
        return replace(
            prompt,
            points_xy=prompt.points_xy - corner,
            box=None if prompt.box is None else prompt.box - np.tile(corner, 2),
            mask=None if prompt.mask is None else prompt.mask[self.pixels],
        )

    def places_in(self, other: View, side: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """What is at x on a grid over this view is at scale · x + shift on one over the other.

        Args:
            side: of both grids.

        Returns:
            Scale and shift, each of columns and rows, in cells from the corner.
        """
        (height, width), (other_h, other_w) = self.part_hw, other.part_hw
        scale_xy = width / other_w, height / other_h
        return scale_xy, ((self.left - other.left) * side / other_w, (self.top - other.top) * side / other_h)


def seen_from(view: View, logits_nhw: Tensor, other: View) -> Tensor:
    """Mask logits on the low-res grid of another view.

    Args:
        logits_nhw: on the grid of `view`. What lies outside of it is given `OUTSIDE`.
    """
    if view == other or not len(logits_nhw):
        return logits_nhw
    height, width = logits_nhw.shape[-2:]
    (part_h, part_w), (other_h, other_w) = view.part_hw, other.part_hw
    # Where the other view is coarser, each of its cells is the mean of several places.
    fine = max(1, math.ceil(max(other_h / part_h, other_w / part_w)))
    places = places_seen(view, other, (height * fine, width * fine), logits_nhw.device)
    raised = (logits_nhw - OUTSIDE).clamp(min=0)[:, None]  # sampling beyond the edges gives 0
    sampled = F.grid_sample(raised, places.expand(len(raised), -1, -1, -1), align_corners=False)
    return F.avg_pool2d(sampled, fine)[:, 0] + OUTSIDE


def places_seen(view: View, other: View, grid_hw: tuple[int, int], device: torch.device) -> Tensor:
    """Where the cells of a grid over one view lie in another one: h x w x 2 (x, y) of their centres, from -1
    to 1 between the borders of `view`.

    Args:
        other: the view that the grid is over.
    """
    y = other.top + other.part_hw[0] * _centres(grid_hw[0], device)
    x = other.left + other.part_hw[1] * _centres(grid_hw[1], device)
    y, x = 2 * (y - view.top) / view.part_hw[0] - 1, 2 * (x - view.left) / view.part_hw[1] - 1
    return torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), dim=2)


def _centres(count: int, device: torch.device) -> Tensor:
    """The centres of cells, as shares of their whole extent."""
    return (torch.arange(count, device=device, dtype=torch.float32) + 0.5) / count
