"""Checkpoints of a training run: a folder each, written whole or not at all; tensors and JSON, no pickle.

OUT/checkpoints/step-00001200/   model.safetensors  ema.safetensors  optimiser.safetensors  state.json
                                 projections.safetensors, if distillation has any
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from vidseg.errors import CheckpointError
from vidseg.pipeline.atomic import PART, write_bytes

KEPT = 2
"""How many checkpoints stay on disk, the newest among them."""
FOLDER = "checkpoints"
_PARTS = ("model", "ema", "optimiser")
_OPTIONAL = "projections"


@dataclass(frozen=True)
class TrainingState:
    """What a training run needs to go on after a step."""

    step: int
    """How many steps are done."""
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    facts: dict[str, Any]
    """What is no tensor, as JSON values."""
    projections: dict[str, Tensor] = field(default_factory=dict)
    """Weights that distillation trains beside the model; none in most runs."""


def write_training_state(out: Path, state: TrainingState) -> Path:
    """Write a checkpoint with the state of a run, and remove all but the `KEPT` newest ones.

    Returns:
        the folder of the checkpoint.
    """
    folder = out / FOLDER / f"step-{state.step:08d}"
    part = folder.with_name(folder.name + PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for name in (*_PARTS, _OPTIONAL):
            tensors = getattr(state, name)
            if tensors or name != _OPTIONAL:
                write_tensors(part / f"{name}.safetensors", tensors)
        facts = {"step": state.step, **state.facts}
        write_bytes(part / "state.json", json.dumps(facts, indent=2, allow_nan=False).encode())
    except BaseException:  # half of a checkpoint must not fill a disk that is full
        shutil.rmtree(part, ignore_errors=True)
        raise
    if folder.exists():  # the run was resumed and stopped before another step
        shutil.rmtree(folder)
    os.replace(part, folder)
    _sync(folder.parent)
    for old in _folders(out)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def read_training_state(out: Path) -> TrainingState | None:
    """The state in the newest checkpoint of a run, its tensors on the CPU; None if there is none.

    Raises:
        CheckpointError: the checkpoint is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for part in (out / FOLDER).glob(f"*{PART}"):
        shutil.rmtree(part, ignore_errors=True)
    folders = _folders(out)
    if not folders:
        return None
    folder = folders[-1]
    try:
        facts = json.loads((folder / "state.json").read_text())
        optional = [_OPTIONAL] if (folder / f"{_OPTIONAL}.safetensors").exists() else []
        tensors = {name: load_file(folder / f"{name}.safetensors") for name in (*_PARTS, *optional)}
        return TrainingState(step=facts.pop("step"), facts=facts, **tensors)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint is damaged ({error})",
            where=str(folder),
            hint="remove this folder, and --resume goes on from the one before",
        ) from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as a safetensors file, whole or not at all."""
    from safetensors.torch import save

    # Each tensor is copied: safetensors refuses tensors that share memory.
    whole = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    write_bytes(path, save(whole, metadata))


def _folders(out: Path) -> list[Path]:
    return sorted(p for p in (out / FOLDER).glob("step-*") if p.suffix != PART and p.is_dir())


def _sync(folder: Path) -> None:
    """Make sure that a renamed entry is on the disk, on systems that can open folders (not Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
