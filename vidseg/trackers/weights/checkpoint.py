"""Reads checkpoints: tensors only, never pickled objects. Errors say what a wrong checkpoint looks like."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidseg.errors import CheckpointError
from vidseg.trackers.weights.layouts import recognise
from vidseg.trackers.weights.transformers_layout import from_transformers, is_transformers

if TYPE_CHECKING:
    from torch import Tensor

FileKind = Literal["torch", "safetensors"]

MOST_UNPACKED = 10
"""A checkpoint in a zip archive may be this many times as large as the archive; weights hardly shrink."""
NAMES_SHOWN = 2
"""How many weights an error names for each kind of mismatch."""


def file_kind(path: Path) -> FileKind:
    """The kind of a file by its first bytes; its suffix does not matter.

    Raises:
        CheckpointError: there is no such file, or it is no checkpoint; web pages, Git LFS pointers and empty
            files are recognised and named.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except FileNotFoundError:
        raise CheckpointError(
            "there is no such checkpoint", where=str(path), hint="vidseg weights list"
        ) from None
    except IsADirectoryError:
        raise CheckpointError("a folder is not a checkpoint", where=str(path)) from None
    except OSError as error:
        raise CheckpointError(f"the checkpoint cannot be read ({error.strerror})", where=str(path)) from None
    # A zip archive (torch >= 1.6), or a bare pickle (protocol 2 and later) as torch wrote before.
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return "torch"
    # safetensors: the header's length in 8 bytes, then JSON.
    if head[8:9] == b"{":
        return "safetensors"
    if not head:
        message = "the checkpoint is empty"
    elif head.lstrip()[:1] == b"<":
        message = "this is a web page, not a checkpoint"
    elif head.startswith(b"version https://git-lfs"):
        message = "this is a Git LFS pointer, not the checkpoint it stands for"
    else:
        message = "this is not a checkpoint (neither torch nor safetensors)"
    raise CheckpointError(message, where=str(path), hint="download it again: vidseg weights get NAME")


def check_whole(path: Path, *, hint: str) -> None:
    """Check by its end that a file is a checkpoint that was not cut short; its content is not read.

    A bare pickle of old versions of torch does not say how long it is, and passes.

    Args:
        hint: how to mend a file that is none.

    Raises:
        CheckpointError: it is cut short, or see `file_kind`.
    """
    try:
        kind = file_kind(path)
    except CheckpointError as error:
        error.hint = hint
        raise
    if kind == "safetensors":
        is_whole = _safetensors_size(path) == path.stat().st_size
    else:
        # The directory of a zip archive is its end.
        with open(path, "rb") as file:
            is_whole = file.read(2) != b"PK" or zipfile.is_zipfile(path)
    if not is_whole:
        raise CheckpointError("the checkpoint is cut short", where=_with_size(path), hint=hint)


def _safetensors_size(path: Path) -> int | None:
    """The size that the header of a safetensors file claims; None if it cannot be read."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > os.fstat(file.fileno()).st_size:
            return None
        try:
            tensors = json.loads(file.read(length))
            ends = (entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__")
            return 8 + length + int(max(ends, default=0))
        except (ValueError, TypeError, KeyError, IndexError):
            return None


def read_checkpoint(source: str | PathLike[str] | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict in a checkpoint, on the CPU, under the official names.

    Args:
        source: a file of torch (`.pt`, `.pth`; the state dict itself, or under 'model' or 'state_dict' as
            official releases have it) or of safetensors; or a state dict. Names of the transformers library
            are taken, too.

    Raises:
        CheckpointError: not a checkpoint, cut short, with more than tensors in it, or without weights.
    """
    if isinstance(source, Mapping):
        return _tensors(source, "the state dict")
    path = Path(source)
    if file_kind(path) == "safetensors":
        return _tensors(_read_safetensors(path), str(path))
    content = _read_torch(path)
    # Official releases keep the state dict under a key, beside nothing or a trainer's state.
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return _tensors(content, str(path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"the safetensors file is damaged or cut short ({_first_line(error)})",
            where=_with_size(path),
            hint="download it again",
        ) from None


def _read_torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(_unpacked(path), map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises any error of its readers: UnpicklingError, RuntimeError, EOFError, KeyError...
        if "weights_only" in str(error).lower() or "unsupported global" in str(error).lower():
            raise CheckpointError(
                "the file holds more than tensors, or is no checkpoint at all",
                where=_with_size(path),
                hint="vidseg reads nothing that could run code; save the bare state dict, or safetensors",
            ) from None
        raise CheckpointError(
            f"the checkpoint is damaged or cut short ({_first_line(error)})",
            where=_with_size(path),
            hint="download it again",
        ) from None


def _unpacked(path: Path) -> Path | io.BytesIO:
    """The checkpoint in a zip archive that holds one, as EfficientSAM's; else the file itself.

    Nothing is written to disk, so names in the archive do not matter.
    """
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        # A file of torch is an archive, too, but of other members; macOS adds copies that hold no content.
        inside = [
            member
            for member in archive.infolist()
            if member.filename.endswith((".pt", ".pth")) and not member.filename.startswith("__MACOSX/")
        ]
        if len(inside) != 1:
            return path
        if inside[0].file_size > MOST_UNPACKED * path.stat().st_size:
            raise ValueError(f"{inside[0].filename} in it claims {inside[0].file_size:,} bytes")
        return io.BytesIO(archive.read(inside[0]))


def _tensors(content: Any, where: str) -> dict[str, Tensor]:
    from torch import Tensor

    if not isinstance(content, Mapping) or not content:
        raise CheckpointError("there are no weights in it", where=where, hint="give a state dict of a model")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise CheckpointError(
                f"'{name}' is not a weight but a value of type {kind}",
                where=where,
                hint="give the state dict alone, or under 'model'",
            )
    return from_transformers(content) if is_transformers(content) else dict(content)


def check_state(
    expected: Mapping[str, Sequence[int]],
    given: Mapping[str, Tensor],
    *,
    where: str | None = None,
    tracker: str | None = None,
) -> None:
    """Check that a state dict has exactly the expected names and shapes.

    Args:
        expected: name -> shape.
        where: the file that the weights came from.
        tracker: name of the tracker that they are for.

    Raises:
        CheckpointError: with the first names that do not fit, and what the checkpoint looks like.
    """
    missing = [name for name in expected if name not in given]
    unknown = [name for name in given if name not in expected]
    misshapen = [
        f"{name} is {_shape(given[name].shape)}, not {_shape(shape)}"
        for name, shape in expected.items()
        if name in given and tuple(given[name].shape) != tuple(shape)
    ]
    if not (missing or unknown or misshapen):
        return
    counts = [
        f"{len(names):,} {kind}"
        for names, kind in ((missing, "missing"), (unknown, "unknown"), (misshapen, "of another shape"))
        if names
    ]
    firsts = [
        f"{kind}: {', '.join(names[:NAMES_SHOWN])}"
        for kind, names in (("missing", missing), ("unknown", unknown), ("shape", misshapen))
        if names
    ]
    whom = f"'{tracker}'" if tracker else "the model"
    layout = recognise(shapes_of(given))
    if (wrapper := _wrapper_of(expected, given)) is not None:
        hint = f"all names in it begin with '{wrapper}', which a wrapper put there: save it without"
    elif layout is None:
        hint = "it looks like none of the published models: use the tracker that it was trained for"
    elif layout.trackers:
        hint = (
            f"it looks like {layout.title}: use the tracker {' or '.join(layout.trackers)}, or other weights"
        )
    else:
        hint = f"it looks like {layout.title}, which no tracker here reads"
    raise CheckpointError(
        f"the weights do not fit {whom}: of {len(expected):,}, {', '.join(counts)} "
        f"(first {'; '.join(firsts)})",
        where=where,
        hint=hint,
    )


def _wrapper_of(expected: Mapping[str, Sequence[int]], given: Mapping[str, Tensor]) -> str | None:
    """What stands before every given name and no expected one, as DistributedDataParallel's 'module.'."""
    first = next(iter(given), "").split(".")[0] + "."
    is_wrapped = all(name.startswith(first) and name.removeprefix(first) in expected for name in given)
    return first if is_wrapped and given else None


def check_values(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], *, where: str | None = None
) -> None:
    """Check that values can be copied into a model and used: PyTorch casts integers to floats without a word.

    Args:
        expected: the model's own values; `given` has the same names and shapes.

    Raises:
        CheckpointError: integers or complex numbers for floats, as in quantised checkpoints; a tensor that is
            sparse or has no values; or numbers that are infinite or none, as after a training that diverged.
    """
    for name, value in given.items():
        kind = str(value.dtype)
        if value.is_meta or value.layout != expected[name].layout:
            kind = "without values" if value.is_meta else str(value.layout)
        elif not expected[name].is_floating_point():
            continue
        elif value.is_floating_point():
            if value.to(expected[name].dtype).isfinite().all():
                continue
            raise CheckpointError(
                f"the weight '{name}' holds values that are infinite or no numbers",
                where=where,
                hint="take an earlier checkpoint, or download the file again",
            )
        raise CheckpointError(
            f"the weight '{name}' is {kind.removeprefix('torch.')}, "
            f"and the model needs {str(expected[name].dtype).removeprefix('torch.')}",
            where=where,
            hint="save it as floating-point numbers: float32, float16 or bfloat16",
        )


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape."""
    return {name: tuple(value.shape) for name, value in state.items()}


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _with_size(path: Path) -> str:
    return f"{path} ({path.stat().st_size:,} bytes)"


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """A digest of weights by name and value, the same for .pt and .safetensors."""
    import torch

    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
