"""What is remembered of an object that an image model follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.trackers.contract import ABSENT_LOGIT, ObjectState
from vidseg.trackers.flow.objects import TrackedObject
from vidseg.trackers.states import object_state

if TYPE_CHECKING:
    from vidseg.trackers.contract import FloatArray

LARGEST_SCORE = 5.0
"""Score logit of an object that a user just showed; the opposite is that of a lost one."""


@dataclass
class FollowedObject:
    """One object of a session."""

    logits: FloatArray
    """float32 h x w: mask logits on the last frame, on the session's low-res grid."""
    score_logit: float
    """Above 0 the object is judged visible."""
    quality: float
    """The model's own estimate of the mask's IoU, 0 to 1."""
    token: FloatArray | None = None
    """float32 C + 1: what the object looks like to the model; see `vidseg.trackers.following.token`."""
    carried: TrackedObject | None = None
    """The object as the flow carries it, for rules that use flow; None if it was never seen."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> FollowedObject:
        """The object from the fields that `dataclasses.asdict` made of it."""
        carried = fields["carried"]
        return cls(**{**fields, "carried": None if carried is None else TrackedObject.of(carried)})

    @property
    def state(self) -> ObjectState:
        return object_state(self.score_logit, self.quality, bool((self.logits > 0).any()))

    @property
    def is_there(self) -> bool:
        """Whether the object was seen on the last frame."""
        return self.state != "absent"

    def lose(self) -> None:
        """Mark the object as absent from the last frame."""
        self.logits = np.full_like(self.logits, ABSENT_LOGIT)
        self.score_logit, self.quality = -LARGEST_SCORE, 0.0
