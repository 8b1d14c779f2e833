"""The constants of the weight-free tracker, in one place."""

from __future__ import annotations

from pydantic import Field

from vidseg.validation import Strict


class FlowConfig(Strict):
    """What a YAML with `kind: flow` may state; the defaults are those of `flow.yaml`."""

    max_side: int = Field(default=864, ge=64, le=4096)
    """Longer side, in pixels, of the grid that frames are worked on; larger videos are scaled down to it."""
