"""Sessions on disk: tensors and facts in one safetensors file, written whole or not at all.

Tensors are torch's, or NumPy arrays for a tracker that runs without torch, whose import takes seconds.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import SafetensorError

from vidseg.errors import CheckpointError, OutputError, told

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

FORMAT = "vidseg-session"
VERSION = 1
_WRONG_NAME = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}
"""Errors of the system that another name would mend."""


def write_session(
    path: str | PathLike[str],
    *,
    tracker: str,
    fingerprint: str,
    tensors: Mapping[str, Tensor] | Mapping[str, npt.NDArray[Any]],
    facts: Any,
) -> None:
    """Write a session.

    Args:
        tracker: name of the tracker.
        fingerprint: digest of its configuration and weights; only the same tracker can go on.
        tensors: the state; all of torch, or all of NumPy.
        facts: the rest of the state, as JSON values.

    Raises:
        OutputError: there cannot be such a file.
        OSError: the disk is full, or fails.
    """
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "tracker": tracker,
        "fingerprint": fingerprint,
        "facts": json.dumps(facts, allow_nan=False),
    }
    part, content = None, _serialise(tensors, metadata)
    try:
        target = Path(path)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        part.write_bytes(content)
        os.replace(part, target)
    except (OSError, ValueError) as error:  # a ValueError: no file can have this name
        if isinstance(error, OSError) and error.errno not in _WRONG_NAME:
            raise
        raise OutputError(
            f"the session cannot be written ({told(error)})", where=str(path), hint="give another file"
        ) from None
    finally:
        if part is not None:
            with contextlib.suppress(OSError, ValueError):
                part.unlink(missing_ok=True)


def read_session(
    path: str | PathLike[str],
    *,
    tracker: str,
    fingerprint: str,
    device: str = "cpu",
    framework: Literal["pt", "np"] = "pt",
) -> tuple[dict[str, Any], Any]:
    """The tensors and facts of a session that the same tracker wrote.

    Args:
        framework: 'pt' for torch tensors, on `device`; 'np' for NumPy arrays.

    Raises:
        CheckpointError: the file is no session, or one of another tracker, other weights or other options.
    """
    where = str(path)
    try:
        # All of it at once: of a file that is mapped, tensors would change when somebody writes into it.
        content = Path(where).read_bytes()
        arrays = _load(content, framework, device)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise CheckpointError("the file is not a saved session", where=where)
        if metadata.get("version") != str(VERSION):
            raise CheckpointError(
                f"the session has format version {metadata.get('version')}, this vidseg reads {VERSION}",
                where=where,
            )
        if metadata.get("tracker") != tracker:
            raise CheckpointError(
                f"the session belongs to the tracker '{metadata.get('tracker')}', not to '{tracker}'",
                where=where,
                hint="restore it with the tracker that saved it",
            )
        if metadata.get("fingerprint") != fingerprint:
            raise CheckpointError(
                "the session was made with other weights or another configuration",
                where=where,
                hint="load the tracker as it was when the session was saved",
            )
        return arrays, json.loads(metadata["facts"])
    except FileNotFoundError:
        raise CheckpointError("there is no such session file", where=where) from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"the file is not a saved session ({error})", where=where) from None


@contextlib.contextmanager
def whole_session(path: str | PathLike[str]) -> Iterator[None]:
    """Tell what goes wrong as a session is made of a file's content.

    Raises:
        CheckpointError: the file lacks a part of the state, or one is not what it should be.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the saved session lacks a part ({error})", where=str(path)) from None


def _load(content: bytes, framework: Literal["pt", "np"], device: str) -> dict[str, Any]:
    if framework == "np":
        from safetensors.numpy import load as load_arrays

        return {name: array.copy() for name, array in load_arrays(content).items()}  # these are read-only
    from safetensors.torch import load

    return {name: tensor.to(device) for name, tensor in load(content).items()}


def _serialise(tensors: Mapping[str, Any], metadata: dict[str, str]) -> bytes:
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        from safetensors.numpy import save as save_arrays

        return save_arrays({name: np.ascontiguousarray(array) for name, array in tensors.items()}, metadata)
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
