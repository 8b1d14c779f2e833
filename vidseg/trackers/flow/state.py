"""A session's state: what it holds between two frames, and how that is written to one file and read back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidseg.errors import CheckpointError, OutputError
from vidseg.trackers.contract import Prompt
from vidseg.trackers.flow.config import FlowConfig
from vidseg.trackers.flow.objects import TrackedObject

FORMAT = 1
"""Version of the file's layout."""


@dataclass
class SessionState:
    """Everything a session remembers: as much for the thousandth frame as for the first."""

    num_frames: int | None = None
    reverse: bool = False
    size_hw: tuple[int, int] | None = None
    """The video's size; None until the first frame tells it."""
    frame_idx: int | None = None
    """The last frame stepped to."""
    pts_seconds: float = 0.0
    picture: npt.NDArray[np.uint8] | None = None
    """uint8 h x w x 3, RGB: the last frame on the grid."""
    objects: dict[int, TrackedObject] = field(default_factory=dict)
    pending: dict[int, Prompt] = field(default_factory=dict)
    """Prompts for the next frame."""
    ahead: dict[int, dict[int, npt.NDArray[np.bool_]]] = field(default_factory=dict)
    """Masks on conditioned frames that were not stepped to yet: frame_idx -> obj_id -> h x w."""


def save_state(path: str | PathLike[str], state: SessionState, tracker: str, config: FlowConfig) -> None:
    """Write a session's state as one safetensors file, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.numpy import save

    tree = {
        **{f.name: getattr(state, f.name) for f in dataclasses.fields(state)},
        "objects": {i: dataclasses.asdict(o) for i, o in state.objects.items()},
        "pending": {i: dataclasses.asdict(p) for i, p in state.pending.items()},
    }
    tensors: dict[str, npt.NDArray[Any]] = {}
    facts = {"format": FORMAT, "kind": "flow", "tracker": tracker, "config": config.model_dump()}
    metadata = {"vidseg": json.dumps({**facts, "state": _split(tree, "", tensors)})}
    target = Path(path)
    part = target.with_name(f"{target.name}.part")
    try:
        part.write_bytes(save(tensors, metadata))
        os.replace(part, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise OutputError(f"the session's state cannot be written ({error})", where=str(target)) from None


def load_state(path: str | PathLike[str], config: FlowConfig) -> SessionState:
    """The state that `save_state` wrote.

    Raises:
        CheckpointError: the file is missing, is not such a state, or was made under another configuration.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["vidseg"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if (facts["kind"], facts["format"]) != ("flow", FORMAT):
            raise CheckpointError(
                f"a session of kind '{facts['kind']}', format {facts['format']}; "
                f"this tracker reads 'flow', format {FORMAT}",
                where=str(path),
                hint="restore it with the tracker that saved it",
            )
        if facts["config"] != config.model_dump():
            raise CheckpointError(
                "the session was saved under another configuration",
                where=str(path),
                hint=f"restore it with the configuration of '{facts['tracker']}' that saved it",
            )
        tree = _join(facts["state"], tensors)
        size_hw = tree.pop("size_hw")
        return SessionState(
            objects={int(i): TrackedObject.of(o) for i, o in tree.pop("objects").items()},
            pending={int(i): Prompt(**p) for i, p in tree.pop("pending").items()},
            ahead={int(f): {int(i): m for i, m in masks.items()} for f, masks in tree.pop("ahead").items()},
            size_hw=None if size_hw is None else (size_hw[0], size_hw[1]),
            **tree,
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"not a saved session ({' '.join(str(error).split())[:200]})",
            where=str(path),
            hint="give a file that a session's save() wrote",
        ) from None


_TENSOR = "tensor:"
"""How the JSON marks a value that is a tensor of the file."""


def _split(value: Any, name: str, tensors: dict[str, npt.NDArray[Any]]) -> Any:
    """The tree as JSON values; arrays go to `tensors` under their path."""
    if isinstance(value, np.ndarray):
        tensors[name] = np.ascontiguousarray(value)
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
