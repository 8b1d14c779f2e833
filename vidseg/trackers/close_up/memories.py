"""Remembers a frame anew, as seen from another view.

Keys, pixels and masks in a memory lie where they lay in the model's input, and places on the next frame are
compared with those on the last: so the last frame has to be remembered from the view that the next one gets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vidseg.memory.bank import MemoryFrame
from vidseg.trackers.contract import Frame
from vidseg.trackers.engine import Engine
from vidseg.trackers.given_frame import computed_once
from vidseg.trackers.model import Decoded, LooksCloser
from vidseg.trackers.view import View, seen_from


def remember_from(
    engine: Engine, view: View, frame: Frame, memories: Sequence[MemoryFrame], masked: View
) -> None:
    """Change tokens and pointers of memories of a frame to what they are as seen from a view.

    Args:
        masked: the view from which the memories' mask logits are; these stay as they are.
    """
    model = engine.model
    assert isinstance(model, LooksCloser)
    part = view.of(frame)
    features = computed_once(part, engine, lambda: engine.encode(part))
    rows = [memory.low_res_logits_hw for memory in memories]
    logits = seen_from(masked, torch.stack([row for row in rows if row is not None]), view)
    decoded = Decoded(
        logits,
        torch.stack([memory.pointer_c for memory in memories]),
        logits.new_tensor([memory.object_score_logit for memory in memories]),
        logits.new_tensor([memory.predicted_iou for memory in memories]),
    )
    decoded = model.with_masks(features, decoded, logits)
    tokens = engine.model.remember(features, decoded, from_prompt=False)
    for row, memory in enumerate(memories):
        memory.tokens_nc, memory.pointer_c = tokens[row], decoded.pointers_bc[row]
