"""What a way of finding objects promises: `SamplerFinder` asks a model, `DetectorFinder` a detector.

Layouts: H W the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vidseg.trackers.contract import Frame, Session

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class New:
    """An object that nobody follows yet."""

    mask: Mask | None = None
    """bool H x W; None for an object that is known by its box."""
    box_xyxy: Box | None = None
    """(x0, y0, x1, y1) in pixels; None for an object that is known by its mask."""
    label: str = ""

    @property
    def prompt(self) -> dict[str, Any]:
        """The prompt that makes a session follow the object."""
        return {"mask": self.mask} if self.mask is not None else {"box": self.box_xyxy}


class Finder(Protocol):
    """Finds objects on the frame that a session has just stepped to.

    In both methods, `masks` are the masks that are not empty, of the objects that the session follows: bool
    H x W by object id. `labels` are those of objects that were found with one.
    """

    num_asked: int
    """Prompts that a decoder has answered so far to find objects."""

    def new(
        self,
        session: Session,
        frame: Frame,
        masks: Mapping[int, Mask],
        labels: Mapping[int, str],
        room: int,
    ) -> list[New] | None:
        """At most `room` objects that are new; None if the finder knows nothing of this frame."""
        ...

    def seen_again(
        self,
        session: Session,
        frame: Frame,
        masks: Mapping[int, Mask],
        labels: Mapping[int, str],
        obj_ids: list[int],
    ) -> set[int]:
        """Those of some tentative objects that are found once more, at the places they were tracked to."""
        ...
