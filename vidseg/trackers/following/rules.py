"""The rules by which image models follow objects, by name; `following: {name: ...}` in a YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from vidseg.registry import Registry
from vidseg.trackers.carrying.session import Picture
from vidseg.trackers.following.flow_prior import FlowPrior, FlowPriorSettings
from vidseg.trackers.following.frame import SeenFrame
from vidseg.trackers.following.nanosam import NanoSam, NanoSamSettings
from vidseg.trackers.following.objects import FollowedObject
from vidseg.trackers.parts import Part, build_part


class FollowingRule(Protocol):
    """Carries objects from frame to frame by questions to an image model."""

    @property
    def max_side(self) -> int:
        """Longer side, at most, of the grid on which pictures are compared."""
        ...

    def learn(self, tracked: FollowedObject, seen: SeenFrame) -> None:
        """Learn what an object looks like, from the mask that a user just gave it."""
        ...

    def learn_ahead(self, tracked: FollowedObject, shown: FollowedObject, seen: SeenFrame) -> None:
        """Learn what an object looks like on a frame ahead; its mask stays as it is.

        Args:
            shown: the object on that frame, after `learn`.
        """
        ...

    def arrive(self, tracked: FollowedObject, seen: SeenFrame) -> None:
        """Take note that an object got the mask that a user gave it for this frame, when it lay ahead."""
        ...

    def carry(self, objects: Mapping[int, FollowedObject], now: SeenFrame, before: Picture) -> None:
        """Carry all objects from the last picture into this frame."""
        ...


FOLLOWING: Registry[Part] = Registry(
    "rule of following",
    {"flow-prior": Part(FlowPriorSettings, FlowPrior), "nanosam": Part(NanoSamSettings, NanoSam)},
)


def register_following(name: str, part: Part) -> None:
    """Make `following: {name: NAME, ...}` in a YAML of `kind: image` build `part`, a `FollowingRule`.

    Raises:
        ConfigError: the name is taken.
    """
    FOLLOWING.register(name, part)


def build_rule(entry: Mapping[str, Any], where: str) -> FollowingRule:
    """The rule that a mapping in a YAML describes.

    Raises:
        ConfigError: there is no such rule, or a setting does not fit.
    """
    rule: FollowingRule = build_part(FOLLOWING, "following", entry, where)
    return rule
