"""What is remembered of one object: its last mask, and what it looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.trackers.contract import ObjectState


@dataclass
class TrackedObject:
    """One object of a session; maps are on the session's grid."""

    prob: npt.NDArray[np.float32]
    """h x w: how likely each pixel of the last frame belongs to the object, 0 to 1."""
    state: ObjectState = "absent"
    presence: float = 0.0
    """How likely the object is in the last frame, 0 to 1."""
    quality: float = 0.0
    """Estimated IoU of the last mask, 0 to 1."""

    @classmethod
    def unseen(cls, grid_hw: tuple[int, int]) -> TrackedObject:
        """An object of which nothing is known yet on this frame."""
        return cls(np.zeros(grid_hw, np.float32))

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> TrackedObject:
        """The object whose `dataclasses.asdict` is `fields`."""
        return cls(**fields)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """bool h x w: the last frame's mask; empty where the object is absent."""
        return self.prob > 0.5

    def anchor(self, picture: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> None:
        """Take a user's word for the object's mask on this frame."""
        self.show(mask)
        self.learn(picture, mask)

    def show(self, mask: npt.NDArray[np.bool_]) -> None:
        """Make `mask` the last frame's mask, with confidence."""
        self.prob = np.where(mask, np.float32(0.99), np.float32(0.01))
        self.state, self.presence, self.quality = "visible", 0.99, 0.95

    def learn(self, picture: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> None:
        """Learn what the object looks like from a picture and the object's true mask in it."""
