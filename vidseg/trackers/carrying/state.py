"""State of a session: all that it holds between two frames; how it is written to a file and read back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from vidseg.trackers.contract import ObjectState, Prompt
from vidseg.trackers.frame_order import checked_length
from vidseg.trackers.pending import PendingPrompts
from vidseg.trackers.session_file import read_session, whole_session, write_session

LAYOUT = 2
"""Version of the state in a file; sessions with another one cannot be restored."""


class Carried(Protocol):
    """One object of a session, a dataclass of arrays, numbers and further such dataclasses."""

    score_logit: float
    """Above 0 the object is judged visible."""
    quality: float
    """Estimated IoU of the last mask, 0 to 1."""

    @property
    def state(self) -> ObjectState: ...


Obj = TypeVar("Obj", bound=Carried)


@dataclass(frozen=True)
class Answer:
    """What a prompt was answered with."""

    map: npt.NDArray[Any]
    """The object on the frame: a mask or mask logits, on a grid of the session's own."""
    quality: float
    """Estimated IoU of the mask, 0 to 1."""


@dataclass
class SessionState(Generic[Obj]):
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
    objects: dict[int, Obj] = field(default_factory=dict)
    pending: PendingPrompts = field(default_factory=PendingPrompts)
    """Prompts that wait for the next frame."""
    ahead: dict[int, dict[int, Answer]] = field(default_factory=dict)
    """Answers on conditioned frames that have not been stepped to: frame_idx -> obj_id."""

    def __post_init__(self) -> None:
        self.num_frames = checked_length(self.num_frames)


def save_state(path: str | PathLike[str], state: SessionState[Any], tracker: str, fingerprint: str) -> None:
    """Write a session's state as one safetensors file, whole or not at all.

    Args:
        fingerprint: see `fingerprint_of`.
    """
    tree = {
        **{field.name: getattr(state, field.name) for field in dataclasses.fields(state)},
        "objects": {obj_id: dataclasses.asdict(tracked) for obj_id, tracked in state.objects.items()},
        "pending": {obj_id: dataclasses.asdict(prompt) for obj_id, prompt in state.pending.items()},
        "ahead": {
            frame_idx: {obj_id: dataclasses.asdict(answer) for obj_id, answer in answers.items()}
            for frame_idx, answers in state.ahead.items()
        },
        "names": list(state.pending.names.items()),
    }
    arrays: dict[str, npt.NDArray[Any]] = {}
    facts = _split(tree, "", arrays)
    write_session(path, tracker=tracker, fingerprint=fingerprint, tensors=arrays, facts=facts)


def load_state(
    path: str | PathLike[str], tracker: str, fingerprint: str, object_of: Callable[[Mapping[str, Any]], Obj]
) -> SessionState[Obj]:
    """The state that `save_state` wrote.

    Args:
        object_of: an object from the fields that `dataclasses.asdict` made of it.

    Raises:
        CheckpointError: the file is missing, is not such a state, or was made by another tracker.
    """
    arrays, facts = read_session(path, tracker=tracker, fingerprint=fingerprint, framework="np")
    with whole_session(path):
        tree = _join(facts, arrays)
        size_hw, names = tree.pop("size_hw"), dict(tree.pop("names", ()))
        return SessionState(
            objects={int(i): object_of(o) for i, o in tree.pop("objects").items()},
            pending=PendingPrompts({int(i): Prompt(**p) for i, p in tree.pop("pending").items()}, names),
            ahead={
                int(frame_idx): {int(i): Answer(**a) for i, a in answers.items()}
                for frame_idx, answers in tree.pop("ahead").items()
            },
            size_hw=None if size_hw is None else (size_hw[0], size_hw[1]),
            **tree,
        )


def fingerprint_of(facts: Mapping[str, Any]) -> str:
    """A digest of what must be the same to go on with a session: a tracker's configuration and weights."""
    text = json.dumps({"layout": LAYOUT, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
