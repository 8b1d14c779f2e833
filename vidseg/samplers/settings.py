"""What all samplers of points can be told; names and defaults are those of SAM's mask generator.

Source: `SamAutomaticMaskGenerator` (segment_anything/automatic_mask_generator.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

HEAD_HINT = "make one: vidseg train recipes/prompt-head-nano.yaml (docs/training.md)"
"""How to get the prompt head that the sampler `peaks` needs."""


@dataclass(frozen=True, kw_only=True)
class PointSettings:
    """Which masks of the points that were asked are kept, and how much memory asking may take."""

    points_per_side: Count = 32
    """Points of the dense grid along each side of the picture."""
    points_per_batch: Count = 64
    """The decoder answers at most this many points at once."""
    memory_mb: Count = 64
    """Logits at the picture's size may take this many MiB at once; fewer are made at a time where it needs
    be. More is no faster on a processor."""
    pred_iou_thresh: Share = 0.88
    """Masks whose predicted IoU is not above this are dropped; 0 keeps all. It is a model's own: models
    with other defaults bring them."""
    first_iou_thresh: Share = 0.0
    """Models that answer a prompt in several steps give up points whose first answer predicts an IoU that is
    not above this: a model's own, and below `pred_iou_thresh`. 0 asks all points to the end."""
    stability_score_thresh: Share = 0.95
    """Masks whose stability is below this are dropped; 0 keeps all."""
    stability_score_offset: float = 1.0
    """Stability is the IoU of the mask cut at logits of plus and minus this."""
    box_nms_thresh: Share = 0.7
    """Masks whose boxes have an IoU above this are one thing; the highest predicted IoU stays."""
    min_mask_region_area: Annotated[int, Field(ge=0)] = 0
    """Holes and islands smaller than this, in pixels, are removed from masks; 0 leaves masks alone."""
