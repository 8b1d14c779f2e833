"""Finds spans of a video where masks are more likely to be wrong, and are worth a look.

It only uses what a tracker reports and what the frames show, frame by frame, in memory that does not grow
with the video. Reasons:

    low_score      the tracker is not sure of an object in sight
    area_jump      an object's area doubles or halves from one frame to the next
    objects_merge  two objects claim mostly the same pixels
    scene_cut      the picture changes as a whole, so everything tracked across is in doubt
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vidseg.pipeline.writers.contract import FrameMasks
from vidseg.trackers.contract import Frame
from vidseg.trackers.discovery.scene import colour_shares, is_cut

if TYPE_CHECKING:
    import numpy.typing as npt

Reason = Literal["low_score", "area_jump", "objects_merge", "scene_cut"]

LOW_SCORE = 0.5
"""An object in sight whose score is below this is in doubt."""
AREA_JUMP = 2.0
"""An area jumps if it changes by at least this factor from one frame to the next."""
SMALL_AREA_PX = 64
"""Areas below this many pixels double by chance, and are not judged."""
MERGED_IOU = 0.5
"""Two objects claim the same pixels if the IoU of their masks is at least this."""
GAP_FRAMES = 5
"""Spans of one kind with fewer frames than this between them are merged."""
MAX_SPANS = 1000
"""How many spans are kept of a run; of those beyond only the number is told."""


@dataclass(slots=True)
class DoubtfulSpan:
    """Frames `first` to `last`, inclusive, that are in doubt."""

    first: int
    last: int
    obj_ids: tuple[int, ...]
    """The objects concerned; none for a scene cut."""
    reason: Reason

    def document(self) -> dict[str, Any]:
        return {"frames": [self.first, self.last], "objects": list(self.obj_ids), "reason": self.reason}


class Review:
    """Collects spans as frames go by, in rising or falling order, over one pass or several."""

    def __init__(self) -> None:
        self.left_out = 0
        """How many spans beyond the first `MAX_SPANS` were left out."""
        self._spans: list[DoubtfulSpan] = []
        self._open: dict[tuple[Reason, tuple[int, ...]], DoubtfulSpan] = {}
        self._previous: int | None = None
        self._areas: dict[int, int] = {}
        self._colours: npt.NDArray[np.float64] | None = None

    def see(self, frame: Frame, masks: FrameMasks) -> None:
        previous, now = self._previous, frame.index
        if previous is not None and abs(now - previous) != 1:  # another pass, or frames were dropped
            self._areas, self._colours = {}, None
        self._previous = now
        boxes = masks.boxes
        areas = {}
        for row, (obj_id, (x, y, w, h)) in enumerate(zip(masks.obj_ids, boxes, strict=True)):
            if w:
                areas[obj_id] = int(np.count_nonzero(masks.masks[row, y : y + h, x : x + w]))
                is_unsure = bool(masks.states) and masks.states[row] == "uncertain"
                if is_unsure or masks.scores[row] < LOW_SCORE:
                    self._note("low_score", (obj_id,), now)
        for obj_id, area in areas.items():
            earlier = self._areas.get(obj_id, area)
            small, large = sorted((area, earlier))
            if large >= SMALL_AREA_PX and large >= AREA_JUMP * small:
                self._note("area_jump", (obj_id,), now)
        for pair in _merged(masks, areas):
            self._note("objects_merge", pair, now)
        self._areas = areas
        if frame.image is not None:
            colours = colour_shares(frame.image)
            if self._colours is not None and is_cut(colours, self._colours):
                # Note the first frame of the new scene, even if the video is seen backwards.
                self._note("scene_cut", (), now if previous is None else max(now, previous))
            self._colours = colours

    def resume(
        self, documents: Iterable[dict[str, Any]], is_done: Callable[[int], bool], left_out: int = 0
    ) -> None:
        """Take up the spans of an interrupted run that lie on frames which are done.

        Changes between the last frame that is done and the next one are not seen.

        Args:
            left_out: how many spans that run left out; those on frames that are done again count twice.
        """
        for document in documents:
            done = [t for t in range(document["frames"][0], document["frames"][1] + 1) if is_done(t)]
            if done:
                span = DoubtfulSpan(done[0], done[-1], tuple(document["objects"]), document["reason"])
                self._spans.append(span)
                self._open[span.reason, span.obj_ids] = span
        self.left_out += left_out

    def document(self) -> list[dict[str, Any]]:
        """The spans so far, in the order of the video."""
        ordered = sorted(self._spans, key=lambda span: (span.first, span.last, span.reason, span.obj_ids))
        return [span.document() for span in ordered]

    def _note(self, reason: Reason, obj_ids: tuple[int, ...], frame_idx: int) -> None:
        span = self._open.get((reason, obj_ids))
        # Cuts are moments, so two of them are not merged.
        gap = 0 if reason == "scene_cut" else GAP_FRAMES
        if span is not None and span.first - gap <= frame_idx <= span.last + gap:
            span.first, span.last = min(span.first, frame_idx), max(span.last, frame_idx)
            return
        span = self._open[reason, obj_ids] = DoubtfulSpan(frame_idx, frame_idx, obj_ids, reason)
        if len(self._spans) < MAX_SPANS:
            self._spans.append(span)
        else:
            self.left_out += 1


def _merged(masks: FrameMasks, areas: dict[int, int]) -> list[tuple[int, int]]:
    """The pairs of objects whose masks have an IoU of `MERGED_IOU` or more."""
    rows = [row for row, obj_id in enumerate(masks.obj_ids) if obj_id in areas]
    if len(rows) < 2:
        return []
    area = np.array([areas[masks.obj_ids[row]] for row in rows], np.float64)
    x, y, w, h = np.array([masks.boxes[row] for row in rows], np.float64).T
    left, right = np.maximum.outer(x, x), np.minimum.outer(x + w, x + w)
    top, bottom = np.maximum.outer(y, y), np.minimum.outer(y + h, y + h)
    # Two masks share at most what their boxes share, and at most the smaller mask.
    most = np.clip(right - left, 0, None) * np.clip(bottom - top, 0, None)
    most = np.minimum(most, np.minimum.outer(area, area))
    may_be = np.triu(most >= MERGED_IOU * (np.add.outer(area, area) - most), 1)
    pairs = []
    for i, j in np.argwhere(may_be):
        part = np.s_[int(top[i, j]) : int(bottom[i, j]), int(left[i, j]) : int(right[i, j])]
        shared = np.count_nonzero(masks.masks[rows[i]][part] & masks.masks[rows[j]][part])
        if shared >= MERGED_IOU * (area[i] + area[j] - shared):
            pairs.append((masks.obj_ids[rows[i]], masks.obj_ids[rows[j]]))
    return pairs
