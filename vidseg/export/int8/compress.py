"""Exports a model, puts parts of it into eight bits by what a clip shows, and says what that costs."""

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
import numpy.typing as npt

from vidseg.errors import InputError, MissingExtraError
from vidseg.export.comparison import box_in, cosine
from vidseg.export.int8.quantise import quantise
from vidseg.export.int8.watch import Feeds
from vidseg.export.write import export
from vidseg.masks import iou
from vidseg.pipeline.atomic import check_free, replacing, write_json
from vidseg.pipeline.read import read
from vidseg.trackers.onnx.graphs import FACTS, Graphs, read_facts, session_options
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker
from vidseg.trackers.weights import sha256_of

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box

DEFAULT_PARTS = ("image_encoder",)
MOST_FEEDS = 16
"""How many inputs of a part set its ranges and are timed; they are spread over the clip."""


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
    equalised: tuple[str, ...]
    """Nodes whose input channels were equalised; see `vidseg.export.int8.equalisation`."""


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
    check_free(out)
    frames = _length_of(clip, frames, box)
    with tempfile.TemporaryDirectory() as scratch:
        exact = Path(scratch) / "float32"
        export(asked, exact, wanted=parts)
        facts = read_facts(exact)
        recorded = {part: _Recording() for part in parts}
        with _recording(recorded):
            expected = [np.packbits(mask) for mask in _masks(exact, clip, frames, box)]
        feeds = {part: recording.spread() for part, recording in recorded.items()}
        never = [part for part in parts if not feeds[part]]
        if never:
            raise InputError(
                f"the part '{never[0]}' did not run on the clip",
                where=str(clip),
                hint="leave it out of --parts",
            )
        with replacing(out) as folder:
            shutil.copytree(exact, folder)
            equalised: dict[str, list[str]] = {}
            for part in parts:
                path = folder / facts["parts"][part]["file"]
                equalised[part] = quantise(exact / path.name, path, feeds[part])
                facts["parts"][part] |= {"sha256": sha256_of(path), "dtype": "int8"}
            write_json(folder / FACTS, facts)
            found = _masks(folder, clip, frames, box)
            report = Report(
                parts={
                    part: _compare(exact, folder, facts["parts"][part]["file"], feeds[part], equalised[part])
                    for part in parts
                },
                mask_iou=float(np.mean([_iou(*pair) for pair in zip(found, expected, strict=True)])),
                frames=frames,
            )
            write_json(folder / FACTS, {**facts, "int8": asdict(report)})
    return report


def _length_of(clip: Path, most: int, box: Box | None) -> int:
    """How many frames are seen, two or more, on the first of which the box lies."""
    if most < 2:
        raise InputError(f"--frames {most}", hint="give at least 2: the object is followed")
    count = 0
    with read(clip, end=most) as source:
        for frame in source:
            if not count:
                box_in(frame.size_hw, box)
            count += 1
    if count < 2:
        raise InputError("the clip has fewer than two frames", where=str(clip), hint="give a longer one")
    return count


def _masks(folder: Path, clip: Path, count: int, box: Box | None) -> Iterator[npt.NDArray[np.bool_]]:
    """The masks of one object on each frame, as the frames are read: they may be many."""
    session = build_tracker(TrackerOptions.of(folder / "tracker.yaml")).start(num_frames=count)
    with read(clip, end=count) as source:
        for number, frame in enumerate(source):
            if number == 0:
                session.prompt(1, box=box_in(frame.size_hw, box))
            yield session.step(frame).masks[0]


class _Recording:
    """Inputs of a part. However often it runs, at most `2 * MOST_FEEDS` of them are held."""

    def __init__(self) -> None:
        self._kept: list[Feeds] = []
        self._every = 1
        """One run of so many is kept."""
        self._runs = 0

    def note(self, given: Feeds) -> None:
        if self._runs % self._every == 0:
            self._kept.append({name: np.array(value) for name, value in given.items()})
        self._runs += 1
        if len(self._kept) > 2 * MOST_FEEDS:
            self._kept = self._kept[::2]
            self._every *= 2

    def spread(self) -> list[Feeds]:
        """`MOST_FEEDS` of them or fewer, spread over the clip."""
        count = len(self._kept)
        places = np.linspace(0, count - 1, min(MOST_FEEDS, count)).round().astype(int)
        return [self._kept[place] for place in places]


@contextmanager
def _recording(recorded: Mapping[str, _Recording]) -> Iterator[None]:
    """Note what goes into these parts while the block runs."""

    def note(part: str, given: Feeds) -> None:
        if part in recorded:
            recorded[part].note(given)

    Graphs.on_run = staticmethod(note)
    try:
        yield
    finally:
        Graphs.on_run = None


def _compare(
    exact: Path, folder: Path, file: str, feeds: Sequence[Feeds], equalised: Sequence[str]
) -> PartReport:
    before, after = (_outputs_of(each / file, feeds) for each in (exact, folder))
    cosines = [
        cosine(want, got)
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
        equalised=tuple(equalised),
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


def _iou(mask: npt.NDArray[np.bool_], packed: npt.NDArray[np.uint8]) -> float:
    return iou(mask, np.unpackbits(packed, count=mask.size).view(bool).reshape(mask.shape))


def _check_packages() -> None:
    try:
        import onnxruntime.quantization  # noqa: F401  # it needs the package onnx
    except ImportError:
        raise MissingExtraError("onnxruntime and onnx", "onnx", needed_for="int8") from None
