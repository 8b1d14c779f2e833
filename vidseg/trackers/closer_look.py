"""A closer look at what a prompt asks for: the part of the picture around it fills the model's whole input.

Layouts: B objects · h w the low-res grid.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidseg.trackers.contract import Prompt
from vidseg.trackers.model import Decoded, Features, ImageModel, LooksCloser
from vidseg.trackers.view import View

AROUND = 0.25
"""How far the look reaches beyond each side of the object, as a share of its width or height."""
LARGEST = 0.6
"""A look at more than this share of the picture would show little more than the picture does."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a picture, in cells of the low-res grid; right and bottom edges are exclusive."""

    left: int
    top: int
    right: int
    bottom: int
    side: int
    """Cells along the side of the grid."""

    @property
    def cells(self) -> tuple[slice, slice]:
        """Rows and columns of the grid."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def view(self, size_hw: tuple[int, int]) -> View:
        """This part in pixels of a picture."""
        height, width = size_hw
        x0, x1 = (round(x * width / self.side) for x in (self.left, self.right))
        y0, y1 = (round(y * height / self.side) for y in (self.top, self.bottom))
        return View(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1), size_hw)


Shown = Callable[[View], tuple[Tensor, Tensor, Tensor]]
"""The model's input for a part of the picture, 3 x S x S, and the prompt there: points 1 x P x 2 in pixels of
that input, and labels 1 x P."""


class Looker(LooksCloser, ImageModel, Protocol):
    """A model that looks closer."""


@dataclass(frozen=True)
class CloserLook:
    """Answers a prompt once more on the part of a picture around it.

    Args:
        watch: entered around each stage, see `vidseg.trackers.engine.Engine`.
    """

    model: Looker
    shown: Shown
    size_hw: tuple[int, int]
    watch: Callable[[Literal["encode", "decode"]], AbstractContextManager[Any]] = nullcontext

    def answer(
        self, features: Features, prompt: Prompt, decoded: Decoded, previous_bhw: Tensor | None
    ) -> Decoded:
        """The better answer, on the grid of the whole picture.

        A first answer to a box is the mean of two, one of them to the mirrored picture, which means the same:
        where the two err apart, their mean errs less.

        Args:
            features: of the whole picture.
            decoded: the answer there.
            previous_bhw: mask logits that the prompt corrects; None: it is the first one.
        """
        window = window_around(prompt, decoded.low_res_logits_bhw[0], self.size_hw)
        is_first_box = previous_bhw is None and prompt.box is not None
        if window is None and not is_first_box:
            return decoded
        view = View.whole(self.size_hw) if window is None else window.view(self.size_hw)
        image, points, labels = self.shown(view)
        nearer, so_far = decoded, previous_bhw
        if window is not None:
            if so_far is None and prompt.box is None:
                so_far = decoded.low_res_logits_bhw
            so_far = None if so_far is None else cut(so_far, window)
            nearer = self._look(image, points, labels, so_far)
        logits = nearer.low_res_logits_bhw
        if is_first_box:
            seen = mirrored(points, labels, self.model.image_size)
            in_mirror = self._look(image.flip(-1), *seen, None)
            logits = (logits + in_mirror.low_res_logits_bhw.flip(-1)) / 2
        if window is not None:
            logits = pasted(decoded.low_res_logits_bhw, logits, window)
        return self.model.with_masks(features, nearer, logits)

    def _look(
        self, image_3ss: Tensor, points_bp2: Tensor, labels_bp: Tensor, so_far_bhw: Tensor | None
    ) -> Decoded:
        """The answer to a prompt on a picture by itself."""
        with self.watch("encode"):
            features = self.model.encode(image_3ss)
        with self.watch("decode"):
            return self.model.decode(
                features,
                self.model.without_memory(features),
                points_bp2=points_bp2,
                labels_bp=labels_bp,
                previous_logits_bhw=so_far_bhw,
            )


def window_around(prompt: Prompt, logits_hw: Tensor, size_hw: tuple[int, int]) -> Window | None:
    """Where to look: around the box of the prompt, or else around the answer so far and the clicks.

    Returns:
        None if there is nothing to look at, or so much that a closer look would be none.
    """
    side = logits_hw.shape[-1]
    scale = side / np.array(size_hw[::-1], np.float64)
    if prompt.box is not None:
        corners = prompt.box.reshape(2, 2) * scale
    else:
        rows, columns = (logits_hw > 0).nonzero().unbind(1)
        spots = prompt.points_xy * scale
        cells = torch.stack((columns, rows), dim=1).cpu().numpy()
        corners = np.concatenate((spots, cells, cells + 1)) if len(cells) else spots[:0]
    if not len(corners):
        return None
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = AROUND * np.maximum(high - low, 1)
    (left, top), (right, bottom) = np.floor(low - margin).clip(0), np.ceil(high + margin).clip(max=side)
    window = Window(int(left), int(top), int(right), int(bottom), side)
    share = (right - left) * (bottom - top) / side**2
    return window if 0 < share <= LARGEST else None


def mirrored(points_bp2: Tensor, labels_bp: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Points where they are in the mirrored picture, and their labels.

    Args:
        points_bp2: in pixels of the model's input.
        labels_bp: of the points; 2 and 3 are the top left and bottom right corners of a box, and come first.
        side: of the model's input.
    """
    x, y = (side - points_bp2[..., :1]), points_bp2[..., 1:]
    if bool((labels_bp == 2).any()):
        x = torch.cat((x[:, :2].flip(1), x[:, 2:]), dim=1)
    return torch.cat((x, y), dim=-1), labels_bp


def cut(logits_bhw: Tensor, window: Window) -> Tensor:
    """Mask logits of the whole picture on the grid of the window: B x h x w."""
    rows, columns = window.cells
    part = logits_bhw[:, None, rows, columns]
    return F.interpolate(part, size=logits_bhw.shape[-2:], mode="bilinear")[:, 0]


def pasted(whole_bhw: Tensor, near_bhw: Tensor, window: Window) -> Tensor:
    """Mask logits of the whole picture, with those of a closer look in their place."""
    rows, columns = window.cells
    size = (rows.stop - rows.start, columns.stop - columns.start)
    part = F.interpolate(near_bhw[:, None], size=size, mode="bilinear", antialias=True)[:, 0]
    whole = whole_bhw.clone()
    whole[:, rows, columns] = part
    return whole
