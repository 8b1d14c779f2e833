"""The memory of one object: its last mask, its shape when it was last surely seen, its appearance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.trackers.contract import ObjectState
from vidseg.trackers.flow.appearance import Appearance
from vidseg.trackers.states import object_state

_LARGEST_SCORE = 5.0
PROMPTED_QUALITY = 0.95
"""Estimated IoU of an answer to a prompt."""


@dataclass
class TrackedObject:
    """One object of a session; maps are on the session's grid."""

    prob: npt.NDArray[np.float32]
    """h x w: how likely each pixel of the last frame belongs to the object, 0 to 1."""
    score_logit: float = -_LARGEST_SCORE
    """Above 0 the object is judged visible."""
    quality: float = 0.0
    """Estimated IoU of the last mask, 0 to 1."""
    looks: Appearance | None = None
    """Its colours; None for an object that has not been seen yet."""
    shape: npt.NDArray[np.bool_] | None = None
    """The mask when the object was last surely seen whole, cut to its rectangle, at quarter resolution."""
    whole_area: float = 0.0
    """Area of the whole object, in pixels of the grid, as far as it is known."""
    shape_response: float = 0.0
    """How well the colours fitted that shape when it was kept."""

    @classmethod
    def unseen(cls, grid_hw: tuple[int, int]) -> TrackedObject:
        """An object about which nothing is known on this frame."""
        return cls(np.zeros(grid_hw, np.float32))

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> TrackedObject:
        """The object from the fields that `dataclasses.asdict` made of it."""
        looks = fields["looks"]
        return cls(**{**fields, "looks": None if looks is None else Appearance(**looks)})

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """bool h x w: the last frame's mask; empty where the object is absent."""
        return self.prob > 0.5

    @property
    def state(self) -> ObjectState:
        return object_state(self.score_logit, self.quality, bool(self.mask.any()))

    def show(self, mask: npt.NDArray[np.bool_]) -> None:
        """Take a mask from the user for the last frame."""
        self.prob = np.where(mask, np.float32(0.99), np.float32(0.01))
        self.score_logit, self.quality = _LARGEST_SCORE, PROMPTED_QUALITY

    def judge(self, prob: npt.NDArray[np.float32], resemblance: float) -> None:
        """Take a tracked mask for the last frame, and estimate how far it can be trusted.

        Args:
            resemblance: see `Appearance.resemblance`.
        """
        self.prob = prob
        mask = prob > 0.5
        likeness = float(np.clip(resemblance, 0, 1))
        # The expected IoU if pixels were independent, reduced if the colours are not the object's.
        union = float(mask.sum()) + float(prob[~mask].sum())
        expected = float(prob[mask].sum()) / max(union, 1e-6)
        self.quality = expected * (0.5 + 0.5 * likeness)
        self.score_logit = 0.5 + (_LARGEST_SCORE - 1) * likeness

    def lose(self) -> None:
        """Mark the object as absent from this frame."""
        self.prob = np.zeros_like(self.prob)
        self.score_logit, self.quality = -_LARGEST_SCORE, 0.0
