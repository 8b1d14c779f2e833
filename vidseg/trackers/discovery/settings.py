"""The settings of discovery."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from vidseg.errors import ConfigError
from vidseg.validation import Strict

Share = Annotated[float, Field(ge=0, le=1)]


class DiscoverySettings(Strict):
    """When to look for objects, and which to follow."""

    every: Annotated[int, Field(ge=1)] = 15
    """Frames from one look at the whole picture to the next; a scene cut brings one at once."""
    sampler: str = "grid"
    """A name of `vidseg.samplers.SAMPLERS`."""
    sampling: dict[str, Any] = Field(default_factory=dict)
    """Settings of the sampler, which go before those of the model; `points_per_side` is 16 where neither says
    it."""
    discover_with: str | None = None
    """The image model that finds objects, a name or a YAML; None: the tracker's own, on the very features it
    tracks with."""
    max_objects: Annotated[int, Field(ge=1)] = 50
    """Objects that are followed at one time."""
    min_area: Annotated[int, Field(ge=1)] | None = None
    """Least area of a new object in pixels; None: a thousandth of the picture."""
    max_share: Share = 0.4
    """Masks that fill more of the picture than this are taken for background."""
    known_iou: Share = 0.5
    """A mask whose IoU with an object is above this is that object."""
    known_inside: Share = 0.8
    """A mask of which more than this share lies inside an object, or which holds more than this share of one,
    is no object of its own."""
    confirm_after: Annotated[int, Field(ge=0)] = 5
    """A new object is tentative until this many frames later, when it is looked for at its place again; it
    is reported only if it is found there once more. 0: it is never tentative."""
    report_tentative: bool = False
    """Whether tentative objects are reported, too, from their first frame on, so that more is reported of
    each object, and for a few frames what is none."""
    forget_after: Annotated[int, Field(ge=1)] = 150
    """An object that was found and has been out of sight for this many frames is forgotten. Its id is not
    used again."""

    def check_sampler(self) -> None:
        """Check the sampler and its settings.

        Raises:
            ConfigError: one of them is unknown, or needs what a frame does not have.
        """
        if self.sampler == "boxes":
            raise ConfigError(
                "the sampler 'boxes' needs boxes, and discovery has none",
                hint="--detector boxes.json, or --sampler grid, two-round or peaks",
            )
        from vidseg.samplers.table import settings_of

        settings_of(self.sampler, self.sampling)
