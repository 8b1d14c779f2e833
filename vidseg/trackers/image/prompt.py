"""A checked prompt on a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidseg.errors import PromptError
from vidseg.trackers.contract import Prompt

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box, FloatArray, Labels, Points

BOX_LABELS = (2, 3)
"""Labels of a box's two corners, which are put before the points."""


@dataclass(frozen=True, slots=True, eq=False)
class ImagePrompt:
    """Points, a box and earlier mask logits of one object; all of them may be given together.

    Coordinates are pixels of the picture, x to the right, y down, origin at the top-left corner.
    """

    points_xy: FloatArray
    """float32 P x 2; the corners of a box come first."""
    labels: npt.NDArray[np.int32]
    """int32 P: 1 on the object, 0 off it; 2 and 3 are the corners of a box."""
    mask_logits: Tensor | None = None
    """Earlier mask logits, float32 h x w on the decoder's grid."""

    @classmethod
    def of(
        cls,
        size_hw: tuple[int, int],
        low_res_size: int,
        *,
        box: Box | None = None,
        points: Points | None = None,
        labels: Labels | None = None,
        mask_logits: Any = None,
    ) -> ImagePrompt:
        """Check and convert what a caller gave.

        Args:
            size_hw: height and width of the picture.
            low_res_size: side of the decoder's grid.

        Raises:
            PromptError: nothing is given, or it does not fit the picture; see `Prompt.of` and `Prompt.fit`.
        """
        if box is None and points is None:
            if mask_logits is None:
                raise PromptError("an empty prompt", hint="give box=, points= with labels=, or mask_logits=")
            if labels is not None and np.size(labels):
                raise PromptError("labels without points", hint="give points= with labels=")
            return cls.joined(mask_logits=_on_grid(mask_logits, low_res_size))
        prompt = Prompt.of(box=box, points=points, labels=labels).fit(size_hw)
        logits = None if mask_logits is None else _on_grid(mask_logits, low_res_size)
        return cls.joined(prompt.box, prompt.points_xy, prompt.labels, logits)

    @classmethod
    def joined(
        cls,
        box: FloatArray | None = None,
        points_xy: FloatArray | None = None,
        labels: npt.NDArray[np.int32] | None = None,
        mask_logits: Tensor | None = None,
    ) -> ImagePrompt:
        """The same prompt without checks, for callers whose official counterpart makes none."""
        xy, marks = [np.zeros((0, 2), np.float32)], [np.zeros(0, np.int32)]
        if box is not None:
            xy.append(box.reshape(2, 2))
            marks.append(np.array(BOX_LABELS, np.int32))
        if points_xy is not None and labels is not None:
            xy.append(points_xy)
            marks.append(labels)
        return cls(np.concatenate(xy), np.concatenate(marks), mask_logits)

    def apart(self) -> Prompt:
        """The same with the box apart from the points, and without mask logits."""
        count = 2 if tuple(self.labels[:2].tolist()) == BOX_LABELS else 0
        box = self.points_xy[:2].reshape(4) if count else None
        return Prompt(self.points_xy[count:], self.labels[count:], box)

    @property
    def first_click_xy(self) -> tuple[float, float] | None:
        """The first point that is not the corner of a box."""
        for (x, y), label in zip(self.points_xy.tolist(), self.labels.tolist(), strict=True):
            if label not in BOX_LABELS:
                return x, y
        return None


def _on_grid(mask_logits: Any, low_res_size: int) -> Tensor:
    try:
        logits = torch.as_tensor(mask_logits).detach().float()
    except (TypeError, ValueError, RuntimeError):
        raise PromptError(
            f"mask_logits of {type(mask_logits).__name__}", hint="give one of an answer's low_res_logits"
        ) from None
    side = low_res_size
    if logits.shape not in ((1, side, side), (side, side)):
        raise PromptError(
            f"mask_logits of shape {tuple(logits.shape)}",
            hint=f"give one of an answer's low_res_logits: 1 x {side} x {side}",
        )
    logits = logits.reshape(side, side)
    if not logits.isfinite().all():
        raise PromptError("mask_logits has a number that is not finite")
    return logits
