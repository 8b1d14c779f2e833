"""The contract of a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vidseg.trackers.contract import Frame


@dataclass(frozen=True, slots=True)
class Detection:
    """A thing that a detector found."""

    box_xyxy: tuple[float, float, float, float]
    """(x0, y0, x1, y1) in pixels of the frame, inside it; origin at the top-left corner."""
    label: str
    """What it is, in the detector's words."""
    score: float
    """The detector's confidence, 0 to 1."""


class Detector(Protocol):
    """Finds things in frames."""

    @property
    def name(self) -> str: ...

    def detect(self, frame: Frame) -> list[Detection] | None:
        """The things in a frame, best first; None if the detector knows nothing of this frame, as a file of
        boxes may. `frame` carries an image.

        A detector may also have a method `remark(unit)`, see `remark_of`, and an attribute `is_sure`, see
        `is_sure`."""
        ...


def is_sure(detector: Detector) -> bool:
    """Whether what a detector finds needs no second look, as when a person chose it: its attribute `is_sure`;
    False without one."""
    return bool(getattr(detector, "is_sure", False))


def remark_of(detector: Detector, unit: str) -> str | None:
    """What a detector warns of once all frames were looked at: what its method `remark(unit)` says.

    Args:
        unit: what was looked at, 'frame' or 'picture'.

    Returns:
        None if there is nothing to say, or if the detector has no such method.
    """
    remark: Callable[[str], str | None] | None = getattr(detector, "remark", None)
    return None if remark is None else remark(unit)


def inside(box_xyxy: Sequence[float], label: str, score: float, size_hw: tuple[int, int]) -> Detection | None:
    """A detection clipped to a frame of H x W pixels; None if nothing of its box lies inside."""
    height, width = size_hw
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    has_area = clipped[2] > clipped[0] and clipped[3] > clipped[1]
    return Detection(clipped, label, float(score)) if has_area else None


def best_first(detections: Sequence[Detection | None]) -> list[Detection]:
    """The detections that there are, by falling score."""
    return sorted((d for d in detections if d is not None), key=lambda d: -d.score)
