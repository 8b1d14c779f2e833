"""Finds objects by a detector: what it draws a box around, and nobody follows, is prompted by that box.

Boxes are (x0, y0, x1, y1), edges of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vidseg.errors import InputError
from vidseg.samplers.nms import kept_by_nms
from vidseg.trackers.contract import Frame, Session
from vidseg.trackers.discovery.finding import New
from vidseg.trackers.discovery.settings import DiscoverySettings
from vidseg.trackers.label_map import mask_boxes

if TYPE_CHECKING:
    import numpy.typing as npt

    from vidseg.detectors import Detection, Detector
    from vidseg.trackers.discovery.finding import Box

    Mask = npt.NDArray[np.bool_]

SAME_BOX_IOU = 0.7
"""Two boxes whose IoU is above this are one thing, whatever their labels, and the one with the lower score is
dropped: SAM's threshold for boxes of masks."""


class DetectorFinder:
    """See `vidseg.trackers.discovery.finding.Finder`.

    A box is an object that is followed if it has the same label and about the same place; objects that
    were not found by the detector may be anything. Each object answers for one box, so that two things close
    to each other stay two.
    """

    def __init__(self, detector: Detector, settings: DiscoverySettings) -> None:
        self.settings = settings
        self.num_asked = 0
        self._detector = detector
        self._last: tuple[Frame, list[Detection] | None] | None = None

    def new(
        self,
        session: Session,
        frame: Frame,
        masks: Mapping[int, Mask],
        labels: Mapping[int, str],
        room: int,
    ) -> list[New] | None:
        found = self._detected(frame)
        if found is None:
            return None
        followed = set(self._matched(found, masks, labels).values())
        left = [detection for place, detection in enumerate(found) if place not in followed]
        new = [one for one in left if _area(one.box_xyxy) >= (self.settings.min_area or 0)][:room]
        self.num_asked += len(new)
        return [New(box_xyxy=one.box_xyxy, label=one.label) for one in new]

    def seen_again(
        self,
        session: Session,
        frame: Frame,
        masks: Mapping[int, Mask],
        labels: Mapping[int, str],
        obj_ids: list[int],
    ) -> set[int]:
        found = self._detected(frame)
        if found is None:  # nobody contradicts what was found before
            return set(obj_ids)
        return set(obj_ids) & set(self._matched(found, masks, labels))

    def _detected(self, frame: Frame) -> list[Detection] | None:
        """What is detected on a frame, each thing once, best first; None if nothing is known of it."""
        if self._last is None or self._last[0] is not frame:
            if frame.image is None:
                raise InputError(f"frame {frame.index} has no picture for the detector to look at")
            found = self._detector.detect(frame)
            if found:
                boxes = np.array([one.box_xyxy for one in found])
                scores = np.array([one.score for one in found])
                found = [found[place] for place in kept_by_nms(boxes, scores, SAME_BOX_IOU)]
            self._last = frame, found
        return self._last[1]

    def _matched(
        self, found: Sequence[Detection], masks: Mapping[int, Mask], labels: Mapping[int, str]
    ) -> dict[int, int]:
        """Object id -> the place in `found` of the detection that is this object."""
        boxes = _boxes_of(masks)
        pairs = [
            (obj_id, place, *_overlap(box, detection.box_xyxy))
            for obj_id, box in boxes.items()
            for place, detection in enumerate(found)
            if labels.get(obj_id, detection.label) == detection.label
        ]
        # The same place first; then boxes of which one holds the other, as a mask may be a part of its thing.
        alike = [(iou, obj_id, place) for obj_id, place, iou, _ in pairs if iou > self.settings.known_iou]
        limit = self.settings.known_inside
        inside = [(iou, obj_id, place) for obj_id, place, iou, of_smaller in pairs if of_smaller > limit]
        matched: dict[int, int] = {}
        for some in (alike, inside):
            for _, obj_id, place in sorted(some, key=lambda pair: -pair[0]):
                if obj_id not in matched and place not in matched.values():
                    matched[obj_id] = place
        return matched


def _boxes_of(masks: Mapping[int, Mask]) -> dict[int, Box]:
    if not masks:
        return {}
    found = mask_boxes(np.stack(list(masks.values())))
    return {obj_id: (x, y, x + w, y + h) for obj_id, (x, y, w, h) in zip(masks, found, strict=True)}


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(box: Box, other: Box) -> tuple[float, float]:
    """The IoU of two boxes, and the share of the smaller one that they have in common."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = _area(box), _area(other)
    return shared / (sum(areas) - shared), shared / min(areas)
