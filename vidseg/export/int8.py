"""Quantises parts of an exported model to int8, with the ranges that a clip shows, and says what it costs.

Weights get a scale for each output channel, activations one for each tensor (static; "QDQ": each quantised
product stands between conversions, which runtimes fuse). Products of two activations and narrow convolutions
stay float32: most of the loss would be theirs, and for narrow ones conversions cost more than they spare.

What follows a convolution in eight bits and keeps to its range (ReLU, ReLU6, sums, nearest neighbours) takes
eight bits, too, and so do depthwise convolutions after it: conversions there would cost what products spare.
Products of matrices leave float32, which saves conversions before what follows in float32 anyway.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import InputError, MissingExtraError, OutputError
from vidseg.export.smoothing import even_out
from vidseg.export.write import export
from vidseg.pipeline.atomic import replacing, write_json
from vidseg.pipeline.read import read
from vidseg.trackers.contract import Frame
from vidseg.trackers.onnx.graphs import FACTS, Graphs, read_facts, session_options
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker
from vidseg.trackers.weights import sha256_of

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box

PRODUCTS = ("Conv", "Gemm", "MatMul")
"""Operators that are quantised."""
FOLLOWING = ("Add", "Clip", "Relu", "Resize")
"""Operators that are quantised where they follow a convolution in eight bits."""
DEFAULT_PARTS = ("image_encoder",)
NARROW = 16
"""Convolutions from or to fewer channels stay float32; from or to so many those do that see more than single
pixels, or whose result something else than convolutions reads."""
LARGE = 1 << 11
"""Constants of more elements than this that are no weights, such as biases of attention, become float16."""
MOST_FEEDS = 8
"""How many inputs of a part set its ranges and are timed; they are spread over the clip."""

Feeds = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What quantising one part brought and cost on the clip."""

    bytes_before: int
    bytes_after: int
    cpu_ms_before: float
    """Median CPU time of a run, all threads."""
    cpu_ms_after: float
    cosine: float
    """The lowest cosine of an output of floats with that of the float32 graph."""
    evened: tuple[str, ...]
    """Nodes of the products whose input channels were evened out; see `vidseg.export.smoothing`."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What int8 brought and cost."""

    parts: dict[str, PartReport]
    mask_iou: float
    """Mean IoU of the clip's masks with those of the float32 graphs."""
    frames: int


def compress_int8(
    asked: TrackerOptions,
    clip: Path,
    out: Path,
    *,
    parts: Sequence[str] = DEFAULT_PARTS,
    box: Box | None = None,
    frames: int = 16,
) -> Report:
    """Export a model with some parts in int8.

    Args:
        asked: which tracker or image model.
        clip: a video like those to come. One object of it is followed.
        out: the folder of the results, which must not exist or be empty.
        parts: names of graphs (see `vidseg export`).
        box: the object on the first frame, in pixels; None: the middle of the picture.
        frames: how many frames of the clip are seen.

    Raises:
        SourceError, DecodeError: the clip cannot be read.
        ConfigError: a part is unknown, or a model that cannot be exported.
        CheckpointError: weights are missing.
        MissingExtraError: the packages that quantise are not installed.
        OutputError: `out` holds something.
    """
    _check_packages()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"the output '{out}' is there already", hint="choose another --out")
    seen = _read_clip(clip, frames)
    with tempfile.TemporaryDirectory() as scratch:
        exact = Path(scratch) / "float32"
        # The network for prompts reads the backbone's own maps, in which the errors of all its layers add up.
        export(asked, exact, prompt_network="image_encoder" not in parts, wanted=parts)
        facts = read_facts(exact)
        feeds: dict[str, list[Feeds]] = {part: [] for part in parts}
        with _recorded(feeds):
            expected = _masks(exact, seen, box)
        never = [part for part in parts if not feeds[part]]
        if never:
            raise InputError(
                f"the part '{never[0]}' did not run on the clip",
                where=str(clip),
                hint="leave it out of --parts",
            )
        with replacing(out) as folder:
            shutil.copytree(exact, folder)
            evened: dict[str, list[str]] = {}
            for part in parts:
                path = folder / facts["parts"][part]["file"]
                evened[part] = _quantise(exact / path.name, path, _spread(feeds[part]))
                facts["parts"][part] |= {"sha256": sha256_of(path), "dtype": "int8"}
            write_json(folder / FACTS, facts)
            found = _masks(folder, seen, box)
            report = Report(
                parts={
                    part: _compare(
                        exact, folder, facts["parts"][part]["file"], _spread(feeds[part]), evened[part]
                    )
                    for part in parts
                },
                mask_iou=float(np.mean([_iou(*pair) for pair in zip(found, expected, strict=True)])),
                frames=len(seen),
            )
            write_json(folder / FACTS, {**facts, "int8": asdict(report)})
    return report


def _read_clip(clip: Path, count: int) -> list[Frame]:
    with read(clip, end=count) as source:
        seen = list(source)
    if len(seen) < 2:
        raise InputError("the clip has fewer than two frames", where=str(clip), hint="give a longer one")
    return seen


def _masks(folder: Path, seen: Sequence[Frame], box: Box | None) -> list[Any]:
    """The masks of one object on each frame."""
    session = build_tracker(TrackerOptions.of(folder / "tracker.yaml")).start(num_frames=len(seen))
    height, width = seen[0].size_hw
    session.prompt(1, box=box or (width / 4, height / 4, 3 * width / 4, 3 * height / 4))
    return [session.step(frame).masks[0] for frame in seen]


@contextmanager
def _recorded(feeds: Mapping[str, list[Feeds]]) -> Iterator[None]:
    """Note what goes into these parts while the block runs."""

    def note(part: str, given: Feeds) -> None:
        if part in feeds:
            feeds[part].append({name: np.array(value) for name, value in given.items()})

    Graphs.on_run = staticmethod(note)
    try:
        yield
    finally:
        Graphs.on_run = None


def _spread(feeds: Sequence[Feeds]) -> list[Feeds]:
    places = np.linspace(0, len(feeds) - 1, min(MOST_FEEDS, len(feeds))).round().astype(int)
    return [feeds[place] for place in places]


def _quantise(exact: Path, path: Path, feeds: Sequence[Feeds]) -> list[str]:
    """Write a graph in eight bits; the names of products that were evened out are returned."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> Feeds | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / path.name
        quant_pre_process(exact, prepared, skip_symbolic_shape=True)
        evened = even_out(prepared, feeds, _exact_nodes(prepared))
        quantize_static(
            prepared,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*PRODUCTS, *FOLLOWING],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_exact_nodes(prepared),
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
    _shrink(path)
    return evened


def _exact_nodes(path: Path) -> list[str]:
    """Names of the nodes of quantised operators that stay float32."""
    import onnx

    graph = onnx.load(path).graph
    weights = {weight.name: weight.dims for weight in graph.initializer}
    readers: dict[str, set[str]] = {}
    """Kinds of the nodes that read a value."""
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    exact: list[str] = []
    eight_bit: set[str] = set()
    """Outputs of convolutions in eight bits, and of what follows them."""
    for node in graph.node:  # in the order in which they run
        given = [name for name in node.input if name and name not in weights]
        follows = all(name in eight_bit for name in given)
        if node.op_type == "MatMul":
            is_quantised = bool(weights.keys() & set(node.input))
        elif node.op_type == "Conv":
            *out_in, height, width = weights[node.input[1]]
            is_between = height == width == 1 and readers.get(node.output[0], {""}) <= {
                "Conv",
                "Clip",
                "Relu",
            }
            is_wide = min(out_in) > NARROW or (min(out_in) == NARROW and is_between)
            is_quantised = follows if _attribute(node, "group", 1) > 1 else is_wide
        elif node.op_type in FOLLOWING:
            is_quantised = follows and _attribute(node, "mode", b"nearest") == b"nearest"
        else:
            continue
        if not is_quantised:
            exact.append(node.name)
        elif node.op_type != "MatMul":
            eight_bit |= set(node.output)
    return exact


def _attribute(node: Any, name: str, default: Any) -> Any:
    import onnx

    values = [onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == name]
    return values[0] if values else default


def _shrink(path: Path) -> None:
    """Store large constants of float32 as float16, which runtimes convert once, as they load the graph; drop
    the exporter's notes of where each node came from."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    casts = []
    for constant in graph.initializer:
        if constant.data_type != TensorProto.FLOAT or np.prod(constant.dims) <= LARGE:
            continue
        values = numpy_helper.to_array(constant)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = constant.name
        constant.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_float16"))
        casts.append(helper.make_node("Cast", [constant.name], [name], to=TensorProto.FLOAT))
    for node in graph.node:
        del node.metadata_props[:]
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)


def _compare(
    exact: Path, folder: Path, file: str, feeds: Sequence[Feeds], evened: Sequence[str]
) -> PartReport:
    before, after = (_outputs_of(each / file, feeds) for each in (exact, folder))
    cosines = [
        _cosine(want, got)
        for wanted, given in zip(before[0], after[0], strict=True)
        for want, got in zip(wanted, given, strict=True)
        if want.size > 1
    ]
    return PartReport(
        bytes_before=(exact / file).stat().st_size,
        bytes_after=(folder / file).stat().st_size,
        cpu_ms_before=before[1],
        cpu_ms_after=after[1],
        cosine=min(cosines),
        evened=tuple(evened),
    )


def _outputs_of(path: Path, feeds: Sequence[Feeds]) -> tuple[list[Any], float]:
    """The outputs for each of the inputs, and the median CPU milliseconds of a run."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
    session.run(None, feeds[0])
    outputs, times = [], []
    for feed in feeds:
        began = time.process_time()
        outputs.append(session.run(None, feed))
        times.append(1000 * (time.process_time() - began))
    return outputs, float(np.median(times))


def _cosine(a: Any, b: Any) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def _iou(a: Any, b: Any) -> float:
    either = (a | b).sum()
    return float((a & b).sum() / either) if either else 1.0


def _check_packages() -> None:
    try:
        import onnxruntime.quantization  # noqa: F401  # it needs the package onnx
    except ImportError:
        raise MissingExtraError("onnxruntime and onnx", "onnx", needed_for="int8") from None
