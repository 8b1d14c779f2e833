"""Brings what is remembered of a frame to another view: remembers it anew from there, or moves it.

Keys, pixels and masks in a memory lie where they lay in the model's input, and places on the next frame are
compared with those on the last: so the last frame has to be remembered from the view that the next one gets.
To move it is enough where it is read but once; it costs no encoding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vidseg.memory.bank import MemoryFrame
from vidseg.trackers.contract import Frame
from vidseg.trackers.engine import Engine
from vidseg.trackers.given_frame import computed_once
from vidseg.trackers.model import Decoded, LooksCloser
from vidseg.trackers.view import View, places_seen, seen_from

MOVABLE = 1.1
"""A memory may be moved to a view that shows things at most this many times as large or small."""


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
    logits = _logits(memories, masked, view)
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


def move_to(engine: Engine, view: View, frame: Frame, memories: Sequence[MemoryFrame], seen: View) -> None:
    """Change tokens of memories of a frame nearly to what they are as seen from a view.

    Args:
        seen: the view from which the memories are; their mask logits stay as they are.
    """
    model = engine.model
    assert isinstance(model, LooksCloser)
    tokens = torch.stack([memory.tokens_nc for memory in memories if memory.tokens_nc is not None])
    logits = _logits(memories, seen, view)
    side = math.isqrt(tokens.shape[1])  # the model's input is square, and so is the grid of its cells
    places = places_seen(seen, view, (side, side), tokens.device)
    moved = model.moved(tokens, places, engine.model_input(view.of(frame)), logits)
    for memory, own in zip(memories, moved, strict=True):
        memory.tokens_nc = own


def _logits(memories: Sequence[MemoryFrame], masked: View, view: View) -> Tensor:
    """The mask logits of memories as seen from a view."""
    rows = [memory.low_res_logits_hw for memory in memories]
    return seen_from(masked, torch.stack([row for row in rows if row is not None]), view)
