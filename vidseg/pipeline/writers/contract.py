"""What writers receive, and what they promise.

Layouts in shapes: N objects · H W video size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vidseg.trackers.label_map import hidden_pixels, mask_boxes, paint_label_map

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.trackers.contract import Frame, FrameResult


@dataclass(eq=False)
class FrameMasks:
    """The masks of one frame at the video's size: what writers and readers of results exchange."""

    frame_idx: int
    pts_seconds: float
    size_hw: tuple[int, int]
    obj_ids: Sequence[int]
    """Every object known so far, absent ones too."""
    masks: npt.NDArray[np.bool_]
    """bool (N, H, W); an absent object's mask is empty; objects may overlap."""
    scores: Sequence[float]
    """(N,): the tracker's confidence, 0 to 1."""
    states: Sequence[str] = field(default_factory=list)
    """(N,): 'visible', 'uncertain' or 'absent'; empty if unknown."""
    hidden: npt.NDArray[np.bool_] | None = None
    """bool (N, H, W): the pixels of each mask that another object has in a label map; None where no masks
    overlap. See `vidseg.trackers.label_map`."""

    is_coming = False
    """Masks are there; see `FrameResult.is_coming`."""

    @classmethod
    def of(cls, result: FrameResult) -> FrameMasks:
        """The masks in a tracker's result, at the video's size."""
        masks = cls(
            result.frame_idx,
            result.pts_seconds,
            result.size_hw,
            list(result.obj_ids),
            result.masks,
            [float(score) for score in result.scores],
            list(result.states),
        )
        # Of a mask that the tracker saw on its own grid, rules at the video's size may leave nothing.
        masks.states = [
            state if width else "absent"
            for state, (_, _, width, _) in zip(masks.states, masks.boxes, strict=True)
        ]
        masks.hidden = hidden_pixels(masks.masks, lambda: result.video_res_logits, masks.boxes)
        return masks

    @cached_property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """(x, y, w, h) of each mask in pixels; all 0 where the mask is empty."""
        return mask_boxes(self.masks)

    def label_map(self) -> npt.NDArray[np.int32]:
        """int32 (H, W): the object id of each pixel, 0 is background; see `vidseg.trackers.label_map`."""
        return paint_label_map(self.obj_ids, self.masks, self.boxes, self.hidden)


class Writer(Protocol):
    """Writes one kind of output. What it writes is whole, or has no final name.

    Life:  [resume] -> write* (sync)* -> finish | discard
    """

    name: str
    """Name in timings: 'png', 'masklets', 'overlay'."""

    def resume(self, is_done: Callable[[int], bool]) -> int | None:
        """Take up an interrupted run: keep the frames of its output for which `is_done(frame_idx)` is true.

        Returns:
            how many frames were kept; None for a stream, which keeps none.
        """
        ...

    def write(self, frame: Frame, masks: FrameMasks) -> None: ...

    def sync(self) -> None:
        """Bring everything written so far to the disk; called before a state to resume from is saved."""
        ...

    def finish(self) -> list[Path]:
        """Give the files their final names, and return those that exist; correct after a broken run, too.

        Raises:
            PartlyFinishedError: some of them could not be made.
        """
        ...

    def discard(self) -> None:
        """Remove files without a final name."""
        ...


class PartlyFinishedError(Exception):
    """A writer could not make all of its files.

    Args:
        done: the files that are whole.
        cause: why the others are not there.
    """

    def __init__(self, done: Sequence[Path], cause: Exception) -> None:
        super().__init__(str(cause))
        self.done = done
        self.cause = cause
