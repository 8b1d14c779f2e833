"""Merges two passes into one masklet: the reverse pass sees objects that the forward pass starts later.

Between the starts of the first and of the last object, both passes visit a frame: the forward pass follows
objects that have started, the reverse pass the others. Masks of the reverse pass wait on the disk, run-length
coded.

Within a pass, logits have decided which of two overlapping objects a label map shows. Logits do not wait on
the disk, so between objects of different passes the higher score on that frame decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidseg.pipeline.prompt_schedule import PromptSchedule
from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.pipeline.writers.masklets import FILE_NAME, MaskletsWriter, read_masklets
from vidseg.trackers.contract import Frame
from vidseg.trackers.label_map import hidden_pixels


class WaitingMasks:
    """Masks of the reverse pass, kept until the forward pass comes to their frame.

    Args:
        folder: state folder of the run.
        forward: schedule of the forward pass.
    """

    def __init__(self, folder: Path, forward: PromptSchedule, size_hw: tuple[int, int]) -> None:
        self._writer = MaskletsWriter(folder)
        self._path = folder / FILE_NAME
        self._first_frames = [thing.first_frame for thing in forward.objects]
        self._size_hw = size_hw
        self._lines: Iterator[FrameMasks] | None = None
        self._line: FrameMasks | None = None

    def resume(self, is_done: Callable[[int], bool]) -> None:
        self._writer.resume(is_done)

    def put(self, frame: Frame, masks: FrameMasks) -> None:
        self._writer.write(frame, masks)

    def sync(self) -> None:
        self._writer.sync()

    def finish(self) -> None:
        """End the reverse pass; its masks are now in rising order."""
        self._writer.finish()

    def merged(self, masks: FrameMasks) -> FrameMasks:
        """The forward pass's masks of a frame, with those of objects that it has not started."""
        if all(first <= masks.frame_idx for first in self._first_frames):
            return masks
        waiting = self._waiting_on(masks.frame_idx)
        if waiting is None:  # the reverse pass broke before it came here
            return masks
        from_forward = [first <= masks.frame_idx for first in self._first_frames]
        sources = [masks if is_forward else waiting for is_forward in from_forward]
        merged = FrameMasks(
            masks.frame_idx,
            masks.pts_seconds,
            masks.size_hw,
            masks.obj_ids,
            np.stack([source.masks[row] for row, source in enumerate(sources)]),
            [source.scores[row] for row, source in enumerate(sources)],
            # The file of masklets holds no states; an object with an empty mask is absent.
            [
                source.states[row] if source.states else "visible" if source.masks[row].any() else "absent"
                for row, source in enumerate(sources)
            ],
        )
        merged.hidden = _hidden(merged, sources)
        return merged

    def _waiting_on(self, frame_idx: int) -> FrameMasks | None:
        if self._lines is None:
            self._lines = read_masklets(self._path, size_hw=self._size_hw)
            self._line = next(self._lines, None)
        while self._line is not None and self._line.frame_idx < frame_idx:
            self._line = next(self._lines, None)
        return self._line if self._line is not None and self._line.frame_idx == frame_idx else None


def _hidden(merged: FrameMasks, sources: Sequence[FrameMasks]) -> npt.NDArray[np.bool_] | None:
    """Pixels that the passes themselves hid, and pixels that objects of one pass hide of the other's.

    Args:
        sources: for each row the masks of the pass that it was taken from.
    """
    within = np.zeros_like(merged.masks)
    for row, source in enumerate(sources):
        if source.hidden is not None:
            within[row] = source.hidden[row]
    # In each pass a remaining pixel belongs to one object at most, so only objects of two passes can meet.
    scores = np.asarray(merged.scores, np.float32)[:, None, None]
    strengths = np.broadcast_to(scores, merged.masks.shape)
    across = hidden_pixels(merged.masks & ~within, lambda: strengths, merged.boxes)
    hidden = within if across is None else within | across
    return hidden if hidden.any() else None
