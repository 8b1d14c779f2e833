"""What an interactive session tells those who listen, as docs/annotate_protocol.md describes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vidseg.annotation.masks import Mask
from vidseg.annotation.project import Project
from vidseg.pipeline.writers.rle import uncompressed

Event = Mapping[str, Any] | bytes
"""A JSON document, or a message in binary."""


def error_document(error: Exception) -> dict[str, Any]:
    """An error as an event."""
    return {
        "type": "error",
        "message": getattr(error, "message", None) or f"{type(error).__name__}: {error}",
        "where": getattr(error, "where", None),
        "hint": getattr(error, "hint", None),
    }


class Listeners:
    """Passes events on to whoever wants them; one that fails hinders no other."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []

    def add(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Let a function have every event from now on; returns a function that ends this."""
        self._listeners.append(listener)

        def remove() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return remove

    def tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            listener(event)

    @property
    def is_empty(self) -> bool:
        return not self._listeners


def masks_message(frame_idx: int, masks: Sequence[Mask], size_hw: tuple[int, int], **header: Any) -> bytes:
    """The masks of a frame in binary.

    Args:
        header: what else the header says, or says instead.
    """
    objects, runs = [], []
    at = 0
    for mask in masks:
        is_empty = mask.kind == "X" or mask.area == 0
        lengths = [] if is_empty else uncompressed({"size": size_hw, "counts": mask.counts})["counts"]
        objects.append(
            {
                "id": mask.obj_id,
                "at": at,
                "runs": len(lengths),
                "score": mask.score,
                "kind": mask.kind,
                "box": [0, 0, 0, 0] if is_empty else mask.box,
                "area": 0 if is_empty else mask.area,
            }
        )
        runs.append(np.asarray(lengths, "<u4"))
        at += len(lengths)
    document = {"type": "masks", "frame": frame_idx, "size": size_hw, "objects": objects, **header}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([len(text).to_bytes(4, "little"), text, *(each.tobytes() for each in runs)])


def timeline_message(project: Project, obj_id: int, first: int, last: int) -> dict[str, Any]:
    """What is known of an object on some frames, a letter and two numbers for each."""
    kinds = ["."] * (last - first + 1)
    scores, areas = [0] * len(kinds), [0] * len(kinds)
    for frame_idx, kind, score, area in project.timeline(obj_id, first, last):
        place = frame_idx - first
        kinds[place], scores[place], areas[place] = kind, round(100 * score), area
    return {
        "type": "timeline",
        "object": obj_id,
        "first": first,
        "kinds": "".join(kinds),
        "scores": scores,
        "areas": areas,
    }
