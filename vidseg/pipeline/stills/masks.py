"""The masks of one picture, ready to be written.

Layouts: N objects · H W the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vidseg.trackers.label_map import mask_boxes

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.samplers import Found
    from vidseg.trackers.label_map import Box


@dataclass(frozen=True)
class Thing:
    """One object of a picture."""

    obj_id: int
    found: Found
    label: str = ""
    """What it is, in the words of the prompt file or the detector; '' if nobody said."""


@dataclass(frozen=True)
class PictureMasks:
    """All objects of a picture."""

    image: npt.NDArray[np.uint8]
    """uint8 H x W x 3, RGB."""
    things: Sequence[Thing]
    label_map: npt.NDArray[np.int32]
    """int32 H x W: the id of the object that each pixel is given to, 0 for none."""

    @property
    def boxes(self) -> list[Box]:
        """(x, y, width, height) of each mask in pixels, as in COCO."""
        return mask_boxes(self.masks)

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """bool N x H x W; they may overlap."""
        shape = self.image.shape[:2]
        return np.stack([t.found.mask for t in self.things]) if self.things else np.zeros((0, *shape), bool)


def smaller_on_top(things: Sequence[Thing], size_hw: tuple[int, int]) -> npt.NDArray[np.int32]:
    """The label map in which a smaller mask covers a larger one, so that parts of things stay in sight."""
    label_map = np.zeros(size_hw, np.int32)
    for thing in sorted(things, key=lambda one: -int(one.found.mask.sum())):
        label_map[thing.found.mask] = thing.obj_id
    return label_map
