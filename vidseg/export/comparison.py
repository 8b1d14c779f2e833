"""How a model is compared with what was made of it: what is asked for, and how near the answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vidseg.trackers.contract import Prompt

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box


def middle_box(size_hw: tuple[int, ...]) -> Box:
    """A box around the middle quarter of a picture, which stands for an object where none is known.

    Args:
        size_hw: the picture's height and width, in pixels; further axes do not count.
    """
    height, width = size_hw[:2]
    return (width / 4, height / 4, 3 * width / 4, 3 * height / 4)


def box_in(size_hw: tuple[int, ...], box: Box | None) -> Box:
    """A box on a picture, clipped to it; where there is none, that of `middle_box`.

    Raises:
        PromptError: it is no box, or lies outside the picture.
    """
    if box is None:
        return middle_box(size_hw)
    fitted = Prompt.of(box=box).fit((size_hw[0], size_hw[1])).box
    assert fitted is not None
    x0, y0, x1, y1 = fitted.tolist()
    return x0, y0, x1, y1


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """The cosine between two maps of one shape, each seen as one vector; 0 if one of them is 0."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b / max(lengths, 1e-12))
