"""Writes the parts of a model to files, with the facts that whoever runs them needs.

OUT/facts.json            sizes, constants, types, names and digests of files and weights
OUT/<part>.onnx or .pt2   a graph each
OUT/tracker.yaml          (onnx) a tracker or image model of `kind: onnx` with the same bank, framing and
                          rules
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch.export.graph_signature import InputKind

from vidseg.errors import ConfigError, MissingExtraError, unknown
from vidseg.export.half import to_half
from vidseg.export.models import exportable
from vidseg.export.parts import Part
from vidseg.export.rewrite import rewrite_file
from vidseg.pipeline.atomic import check_free, replacing, write_json
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.following import FollowingTracker
from vidseg.trackers.low_bits_settings import require_float
from vidseg.trackers.onnx.graphs import FACTS, VERSION
from vidseg.trackers.options import EngineOptions, TrackerOptions
from vidseg.trackers.registry import build_tracker, read_config
from vidseg.trackers.weights import sha256_of
from vidseg.version import __version__

Format = Literal["onnx", "pt2"]
DType = Literal["float32", "float16"]
OPSET = 20
"""Version of ONNX's operators."""
LARGEST_FREE_SIZE = 1 << 14
"""The most that an axis without a fixed size may have in a torch.export package."""


def export(
    asked: TrackerOptions,
    out: Path,
    *,
    format: Format = "onnx",
    dtype: DType = "float32",
    wanted: Sequence[str] = (),
    on_part: Callable[[str, Path], object] = lambda name, path: None,
) -> dict[str, Any]:
    """Export a tracker's model.

    Args:
        asked: which tracker; its model is built on the CPU.
        out: the folder of the results, which must not exist or be empty.
        dtype: of weights and of what is computed; inputs and outputs that count or mark keep their types.
        wanted: names of parts that the model has to have.
        on_part: is told of each part when it is written.

    Returns:
        What facts.json holds.

    Raises:
        ConfigError: a tracker whose model cannot be exported, or that lacks a wanted part.
        CheckpointError: its weights are missing.
        MissingExtraError: the packages that write ONNX are not installed.
        OutputError: `out` holds something.
    """
    if format == "onnx":
        _check_packages()
    check_free(out)
    name, config = read_config(asked.tracker)
    if config.get("kind") == "onnx":
        raise ConfigError(f"'{name}' is exported already", hint="name the model that it was exported from")
    plain = {"device": "cpu", "dtype": "float32", "compile": False, "graphs": False}
    require_float(config, f"model '{name}'")
    tracker = build_tracker(asked.model_copy(update=plain))
    if isinstance(tracker, EngineTracker):
        model = exportable(tracker.engine.model)
    elif isinstance(tracker, FollowingTracker):
        model = exportable(tracker.model)
    else:
        raise ConfigError(f"the tracker '{tracker.name}' has no model to export")
    names = [part.name for part in model.parts]
    for name in wanted:
        if name not in names:
            raise ConfigError(unknown("part", name, names), where="--parts")
    facts = {
        "version": VERSION,
        "format": format,
        "opset": OPSET if format == "onnx" else None,
        "dtype": dtype,
        "tracker": tracker.name,
        "weights_sha256": tracker.weights_sha256,
        "made_by": f"vidseg {__version__}, torch {torch.__version__}",
        **model.facts,
        "parts": {},
    }
    if dtype == "float16":
        to_half(part.module for part in model.parts)
    with replacing(out) as folder, _quiet():
        folder.mkdir()
        for part in model.parts:
            path = folder / f"{part.name}.{format}"
            _write_part(part, path, dtype)
            facts["parts"][part.name] = {
                "file": path.name,
                "sha256": sha256_of(path),
                "inputs": {name: _shape(part, name) for name in part.inputs},
                "outputs": list(part.outputs),
            }
            on_part(part.name, path)
        if format == "onnx":
            about = tracker.describe()
            settings = {**about["config"], **_unsaid(tracker), "kind": "onnx", "weights": "."}
            if options := _options(about):
                settings["options"] = options
            text = yaml.safe_dump(settings, sort_keys=False)
            (folder / "tracker.yaml").write_text(text, encoding="utf-8")
        write_json(folder / FACTS, facts)
    return facts


def _unsaid(tracker: EngineTracker | FollowingTracker) -> dict[str, Any]:
    """Settings that change no tracking, and so are left out where a tracker describes itself."""
    if isinstance(tracker, FollowingTracker):
        return {}
    settings = tracker.settings
    # A graph of memory attention is as it was exported; what is read of the bank may still change.
    fast = {"bank": settings.fast.bank}
    return {"fast": fast, "sampling": settings.sampling, "discovery": settings.discovery}


def _options(about: Mapping[str, Any]) -> dict[str, Any]:
    """What the tracker's YAML sets under `options`; what changes its settings is in these already."""
    return {key: value for key in EngineOptions.model_fields if (value := about["options"].get(key))}


def _write_part(part: Part, path: Path, dtype: DType) -> None:
    module = part.module.eval().requires_grad_(False)
    inputs = dict(part.inputs)
    if dtype == "float16":
        halves = {name for name, x in inputs.items() if x.is_floating_point()} - part.exact
        inputs |= {name: inputs[name].half() for name in halves}
    program = torch.export.export(
        module, tuple(inputs.values()), dynamic_shapes=_dynamic_shapes(part), strict=False
    )
    if path.suffix == ".pt2":
        _drop_unused_weights(program)
        torch.export.save(program, path)
        return
    onnx_program = torch.onnx.export(
        program,
        opset_version=OPSET,
        input_names=list(inputs),
        output_names=list(part.outputs),
        dynamo=True,
        verbose=False,
    )
    assert onnx_program is not None
    _name_free_sizes(onnx_program.model.graph, part)
    onnx_program.save(path)
    if dtype == "float32":
        rewrite_file(path)


def _drop_unused_weights(program: torch.export.ExportedProgram) -> None:
    """Remove the weights that a part does not read; its module holds the whole model."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    read = []
    for spec in program.graph_signature.input_specs:
        node = nodes[spec.arg.name]
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and not node.users:
            program.graph.erase_node(node)
            for weights in (program.state_dict, program.constants):
                weights.pop(spec.target, None)
        else:
            read.append(spec)
    program.graph_signature.input_specs[:] = read
    program.graph_module.recompile()


def _dynamic_shapes(part: Part) -> tuple[Any, ...]:
    sizes: dict[str, Any] = {}

    def of(name: str) -> dict[int, Any] | None:
        axes = part.free.get(name, {})
        return {
            axis: sizes.setdefault(size, torch.export.Dim(size, min=1, max=LARGEST_FREE_SIZE))
            for axis, size in axes.items()
        } or None

    shapes = [of(name) for name in part.inputs]
    # What a module takes as *args is one argument to torch.export.
    count = part.module.forward.__code__.co_argcount - 1
    return (*shapes[:count], tuple(shapes[count:])) if len(shapes) > count else tuple(shapes)


def _name_free_sizes(graph: Any, part: Part) -> None:
    """Give free sizes the names that they have in `Part.free`, in place of the tracer's."""
    names = {}
    for value in graph.inputs:
        for axis, size in part.free.get(value.name, {}).items():
            names[str(value.shape[axis])] = size
    for value in (*graph.inputs, *graph.outputs):
        if value.shape is not None:
            for axis, size in enumerate(value.shape):
                if str(size) in names:
                    value.shape[axis] = names[str(size)]


def _shape(part: Part, name: str) -> list[int | str]:
    """The sizes of an input; a free one is told by its name."""
    free = part.free.get(name, {})
    return [free.get(axis, size) for axis, size in enumerate(part.inputs[name].shape)]


def _check_packages() -> None:
    try:
        import onnxscript  # noqa: F401  # torch writes ONNX with it
    except ImportError:
        raise MissingExtraError("onnxscript", "onnx", needed_for="an export to ONNX") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters, whose notes about their own insides tell users nothing."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
