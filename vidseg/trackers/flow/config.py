"""The constants of the weight-free tracker."""

from __future__ import annotations

from pydantic import Field

from vidseg.validation import Strict


class FlowConfig(Strict):
    """What a YAML with `kind: flow` may state; the defaults are those of `flow.yaml`.

    Evidence is in log-likelihood ratios (nats); lengths called a share are of the object's size, the square
    root of its area.
    """

    max_side: int = Field(default=864, ge=64, le=4096)
    """Longest side, in pixels, of the grid on which frames are processed; larger videos are scaled down to
    it."""
    prior_reach_px: float = Field(default=6.0, gt=0)
    """Distance from the carried contour, in pixels of the grid, at which the prior weighs one nat."""
    prior_limit: float = Field(default=12.0, gt=0)
    """The most that the prior can weigh, in nats."""
    colour_weight: float = Field(default=0.5, ge=0)
    """Weight of the colours of the whole object against those of its surroundings, as first seen."""
    local_colour_weight: float = Field(default=1.0, ge=0)
    """Weight of the colours seen close by, on either side of the contour, in the last frames."""
    motion_weight: float = Field(default=1.0, ge=0)
    """Weight of moving with the object rather than with what is around it."""
    colour_limit: float = Field(default=3.0, gt=0)
    motion_limit: float = Field(default=2.0, gt=0)
    """The most that one pixel's colour or motion can weigh, in nats."""
    flow_noise_px: float = Field(default=1.0, gt=0)
    """Standard deviation of the flow's own error."""
    colours: int = Field(default=32, ge=2, le=255)
    """How many clusters of colours local colours are counted in."""
    local_share: float = Field(default=0.25, gt=0)
    """Half side of the window that local colours are counted in, as a share of the object's size."""
    motion_share: float = Field(default=0.5, gt=0)
    """Half side of the window in which motions are compared, as a share of the object's size."""
    ring_share: float = Field(default=0.25, gt=0)
    """How fast surroundings lose weight with their distance from the object, as a share of its size."""
    local_rate: float = Field(default=0.1, gt=0, le=1)
    """Share of the local colours that each frame renews."""
    window_share: float = Field(default=1.0, gt=0)
    """Margin around the carried mask that is searched, as a share of the object's size."""
    growth: float = Field(default=1.3, gt=1)
    """An object's area grows by at most this factor from one frame to the next."""
    smallest_area_px: int = Field(default=12, ge=1)
    """An object with less area than this, in pixels of the grid, counts as gone."""
    find_share: float = Field(default=0.7, gt=0)
    """How well a place must fit a lost object, as a share of how the object itself fitted when last seen."""
    sure_resemblance: float = Field(default=0.6)
    """From this mean colour evidence on (as a share of the object's own) its shape is remembered."""
    whole_share: float = Field(default=0.7, gt=0, le=1)
    """From this share of its known area on, an object counts as seen whole."""
    size_memory: float = Field(default=0.98, gt=0, le=1)
    """Share of the known area that is kept from frame to frame while the object shows less."""
    filter_px: int = Field(default=12, ge=1)
    """Radius of the guided filter, in pixels of the grid."""
    filter_eps: float = Field(default=1e-3, gt=0)
    """Regularisation of the guided filter: colour variance (0 to 1 squared) that counts as an edge."""
