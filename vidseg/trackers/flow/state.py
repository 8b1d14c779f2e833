"""State of a session: all that it holds between two frames; how it is written to a file and read back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.errors import CheckpointError
from vidseg.trackers.contract import Prompt
from vidseg.trackers.flow.config import FlowConfig
from vidseg.trackers.flow.objects import TrackedObject
from vidseg.trackers.pending import PendingPrompts
from vidseg.trackers.session_file import read_session, write_session

LAYOUT = 1
"""Version of the state in a file; sessions with another one cannot be restored."""


@dataclass
class SessionState:
    """Everything that a session remembers; its size does not grow with the video."""

    num_frames: int | None = None
    reverse: bool = False
    size_hw: tuple[int, int] | None = None
    """Height and width of the video; None before the first frame."""
    frame_idx: int | None = None
    """The last frame stepped to; None before the first one."""
    pts_seconds: float = 0.0
    picture: npt.NDArray[np.uint8] | None = None
    """uint8 h x w x 3, RGB: the last frame on the grid."""
    objects: dict[int, TrackedObject] = field(default_factory=dict)
    pending: PendingPrompts = field(default_factory=PendingPrompts)
    """Prompts that wait for the next frame."""
    ahead: dict[int, dict[int, npt.NDArray[np.bool_]]] = field(default_factory=dict)
    """Masks on conditioned frames that have not been stepped to: frame_idx -> obj_id -> h x w."""


def save_state(path: str | PathLike[str], state: SessionState, tracker: str, config: FlowConfig) -> None:
    """Write a session's state as one safetensors file, whole or not at all."""
    tree = {
        **{field.name: getattr(state, field.name) for field in dataclasses.fields(state)},
        "objects": {obj_id: dataclasses.asdict(tracked) for obj_id, tracked in state.objects.items()},
        "pending": {obj_id: dataclasses.asdict(prompt) for obj_id, prompt in state.pending.items()},
        "names": list(state.pending.names.items()),
    }
    arrays: dict[str, npt.NDArray[Any]] = {}
    facts = _split(tree, "", arrays)
    write_session(path, tracker=tracker, fingerprint=_fingerprint(config), tensors=arrays, facts=facts)


def load_state(path: str | PathLike[str], tracker: str, config: FlowConfig) -> SessionState:
    """The state that `save_state` wrote.

    Raises:
        CheckpointError: the file is missing, is not such a state, or was made by another tracker.
    """
    arrays, facts = read_session(path, tracker=tracker, fingerprint=_fingerprint(config), framework="np")
    try:
        tree = _join(facts, arrays)
        size_hw, names = tree.pop("size_hw"), dict(tree.pop("names", ()))
        return SessionState(
            objects={int(i): TrackedObject.of(o) for i, o in tree.pop("objects").items()},
            pending=PendingPrompts({int(i): Prompt(**p) for i, p in tree.pop("pending").items()}, names),
            ahead={int(f): {int(i): m for i, m in masks.items()} for f, masks in tree.pop("ahead").items()},
            size_hw=None if size_hw is None else (size_hw[0], size_hw[1]),
            **tree,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the saved session lacks a part ({error})", where=str(path)) from None


def _fingerprint(config: FlowConfig) -> str:
    facts = {"kind": "flow", "layout": LAYOUT, "config": config.model_dump()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


_TENSOR = "tensor:"
"""Prefix in the JSON of a value that is a tensor of the file."""


def _split(value: Any, name: str, tensors: dict[str, npt.NDArray[Any]]) -> Any:
    """The tree as JSON values; its arrays are moved to `tensors`, named by their path."""
    if isinstance(value, np.ndarray):
        tensors[name] = value
        return _TENSOR + name
    if isinstance(value, dict):
        return {str(key): _split(item, f"{name}.{key}".lstrip("."), tensors) for key, item in value.items()}
    return value


def _join(value: Any, tensors: dict[str, npt.NDArray[Any]]) -> Any:
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value.removeprefix(_TENSOR)]
    if isinstance(value, dict):
        return {key: _join(item, tensors) for key, item in value.items()}
    return value
