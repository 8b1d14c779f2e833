"""An exported model: a folder of ONNX files with facts.json, opened with onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vidseg.errors import CheckpointError, ConfigError, MissingExtraError
from vidseg.trackers.weights import sha256_of

FACTS = "facts.json"
VERSION = 1
"""The number of the form that facts.json has; other forms are refused."""
LOWEST_OPSET = 17
"""Graphs of earlier ONNX operators were not made by `vidseg export`."""

OF_ONE_FRAME = "memory_attention_of_one_frame"
"""The graph of memory attention to a single memory frame, where models read that in another way."""

EXACT_EIGHT_BITS = "session.x64quantprecision", "1"
"""A setting of onnxruntime's sessions: products of eight bits are made of unsigned numbers alone. Without it
they overflow on processors that lack VNNI instructions, as sums of two products do not fit into 16 bits;
with it they take more than twice as long on those that have them (onnxruntime 1.32)."""

_PRODUCT = (
    b'\x08\x08:E\n\x18\n\x01a\n\x01b\x12\x01c"\rMatMulInteger\x12\x08productsZ\t\n\x01a\x12\x04\n\x02\x08\x02'
    b"Z\t\n\x01b\x12\x04\n\x02\x08\x03b\t\n\x01c\x12\x04\n\x02\x08\x06B\x04\n\x00\x10\x11"
)
"""A graph of one node, c = MatMulInteger(a, b), of unsigned a and signed b; as bytes, so that no package
has to be there to write it."""


def session_options() -> Any:
    """Options of onnxruntime's sessions: as many threads as PyTorch has, and exact products of eight bits."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if products_overflow():
        options.add_session_config_entry(*EXACT_EIGHT_BITS)
    options.intra_op_num_threads = torch.get_num_threads()
    return options


@cache
def products_overflow() -> bool:
    """Whether products of eight bits overflow here as onnxruntime computes them unless told otherwise.

    They are computed once, of the largest numbers, as onnxruntime does not tell which instructions it uses.
    """
    import onnxruntime

    product = onnxruntime.InferenceSession(_PRODUCT, providers=["CPUExecutionProvider"])
    unsigned, signed = np.full((8, 64), 255, np.uint8), np.full((64, 32), 127, np.int8)
    (sums,) = product.run(None, {"a": unsigned, "b": signed})
    return bool((sums != 64 * 255 * 127).any())


class Graphs:
    """The graphs of an exported model.

    Args:
        folder: what `vidseg export` wrote.
        providers: onnxruntime's execution providers, the preferred one first; None: the CPU.

    Raises:
        CheckpointError: a file is missing, not what was exported, or does not run here.
        ConfigError: a provider is not in this onnxruntime.
        MissingExtraError: onnxruntime is not installed.
    """

    on_run: ClassVar[Callable[[str, dict[str, Any]], None] | None] = None
    """Is told what goes into a part before it runs; calibration listens here."""

    def __init__(self, folder: Path, providers: Sequence[str] | None = None) -> None:
        self.folder = folder
        self.facts = read_facts(folder)
        self._providers = _checked(providers)
        self._sessions = {part: self._open(part) for part in self.facts["parts"]}

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of the graph of each part."""
        return {part: about["sha256"] for part, about in self.facts["parts"].items()}

    def require(self, *parts: str) -> None:
        """Check that there are graphs of these parts.

        Raises:
            CheckpointError: one is not among the facts.
        """
        for part in parts:
            if part not in self._sessions:
                raise CheckpointError(
                    f"the facts name no graph of '{part}'",
                    where=str(self.folder / FACTS),
                    hint="export the model again",
                )

    def run(self, part: str, **inputs: Tensor) -> list[Tensor]:
        """The outputs of a part, float32 on the CPU; inputs are converted to the types of the graph.

        Raises:
            CheckpointError: the graph takes inputs of other sizes.
        """
        from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

        session = self._sessions[part]
        feeds = {
            needed.name: inputs[needed.name]
            .detach()
            .cpu()
            .numpy()
            .astype(_NUMPY_TYPES[needed.type], copy=False)
            for needed in session.get_inputs()
        }
        if Graphs.on_run is not None:
            Graphs.on_run(part, feeds)
        try:
            outputs = session.run(None, feeds)
        except InvalidArgument as error:
            raise CheckpointError(
                f"the graph of '{part}' does not take what the facts say ({str(error).splitlines()[0]})",
                where=str(self.folder / FACTS),
                hint="export the model again",
            ) from None
        return [torch.from_numpy(output).float() for output in outputs]

    def _open(self, part: str) -> Any:
        import onnxruntime

        about = self.facts["parts"][part]
        path = self.folder / about["file"]
        if path.parent != self.folder or not path.is_file():
            raise CheckpointError(f"the graph of '{part}' is missing", where=str(path))
        if sha256_of(path) != about["sha256"]:
            raise CheckpointError(
                f"the graph of '{part}' is not the one that was exported: its SHA-256 is another one",
                where=str(path),
                hint="export the model again",
            )
        try:
            return onnxruntime.InferenceSession(str(path), session_options(), providers=self._providers)
        except Exception as error:  # onnxruntime has an exception of its own for each fault
            raise CheckpointError(
                f"the graph of '{part}' does not run here ({str(error).splitlines()[0]})", where=str(path)
            ) from None


_NUMPY_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def read_facts(folder: Path) -> dict[str, Any]:
    """What facts.json says.

    Raises:
        CheckpointError: there is none, or it is of another form.
    """
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            "this is no folder of an exported model", where=str(path), hint="vidseg export NAME --out DIR"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"the facts cannot be read ({error})", where=str(path)) from None
    version = facts.get("version") if isinstance(facts, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(
            f"the model was exported by a newer vidseg: its facts have the form {version}, "
            f"and this one reads {VERSION}",
            where=str(path),
            hint="update vidseg, or export the model with this one",
        )
    if version != VERSION or not _is_whole(facts):
        raise CheckpointError("the facts are not those of an exported model", where=str(path))
    opset = facts.get("opset")
    if facts.get("format") != "onnx" or not isinstance(opset, int) or opset < LOWEST_OPSET:
        raise CheckpointError(
            f"the model was exported as {facts.get('format')}, opset {opset}; onnxruntime "
            f"trackers take onnx from opset {LOWEST_OPSET} on",
            where=str(path),
            hint="vidseg export NAME --out DIR --format onnx",
        )
    return facts


def _is_whole(facts: Mapping[str, Any]) -> bool:
    """Whether facts have what those of all models have."""
    parts = facts.get("parts")
    return (
        {"image_size", "model", "weights_sha256"} <= set(facts)
        and isinstance(parts, dict)
        and all(
            isinstance(about, dict) and all(isinstance(about.get(key), str) for key in ("file", "sha256"))
            for about in parts.values()
        )
    )


def _checked(providers: Sequence[str] | None) -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx", needed_for="a tracker of kind 'onnx'") from None
    there = onnxruntime.get_available_providers()
    chosen = list(providers or ["CPUExecutionProvider"])
    missing = [name for name in chosen if name not in there]
    if missing:
        raise ConfigError(f"this onnxruntime has no '{missing[0]}'", hint=f"it has {', '.join(there)}")
    return chosen
