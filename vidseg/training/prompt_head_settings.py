"""The `prompt_head` section of a training YAML."""

from __future__ import annotations

from pydantic import Field

from vidseg.validation import Strict


class PromptHeadSettings(Strict):
    """The head that the sampler `peaks` needs, over the features of the image model that `tracker` names. The
    model stays as it is."""

    weights: str | None = None
    """A file of weights for the image model; None: its own. The head fits these weights alone."""
    width: int = Field(default=48, ge=1)
    """Channels inside the head."""
    blocks: int = Field(default=3, ge=0)
    """How many convolutions see the surroundings; each looks twice as far as the one before."""
    points: float = Field(default=1.0, gt=0)
    """Weight of the loss on how far inside an object a cell lies."""
    boxes: float = Field(default=1.0, ge=0)
    """Weight of the loss on the boxes of objects."""
