"""Speed, memory and size of trackers, side by side on one machine.

Every tracker runs in a process of its own, so that its memory can be told apart. Trackers take turns of a few
frames, so that other load on the machine falls on all of them alike. The video is made (see `MadeVideo`)
before the clock starts. The time of a frame is that of `session.step` and of the masks at the video's size.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from vidseg.errors import InputError
from vidseg.eval.operations import counter
from vidseg.eval.turns import Failure, in_turns
from vidseg.pipeline.machine import machine, peak_memory_bytes, versions
from vidseg.trackers.options import TrackerOptions

if TYPE_CHECKING:
    from vidseg.trackers.contract import Tracker
    from vidseg.trackers.engine import Engine
    from vidseg.trackers.following import FollowingTracker

MAX_OBJECTS = 100


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """How trackers are measured, and on what."""

    frames: int = 24
    """How many frames of each tracker are measured."""
    warm_up: int = 8
    """How many frames come before these; SAM 2's memory is full after 7."""
    turn: int = 4
    """How many frames a tracker runs before the next one has its turn."""
    objects: int = 1
    size_hw: tuple[int, int] = (720, 1280)
    threads: int | None = None
    """How many threads a tracker computes with; None: as many as torch takes."""


@dataclass(kw_only=True)
class Measured:
    """The measurements of one tracker."""

    name: str
    parameters: int
    """Number of the model's weights; 0 without a torch model."""
    weight_bytes: int
    """Size of these weights as they are held in memory."""
    gflops: float | None = None
    """Operations of one frame with a full memory, 10^9; a multiply-add counts as two. None without a torch
    model."""
    gflops_by_stage: dict[str, float] = field(default_factory=dict)
    ms: float = 0.0
    """Median time of the measured frames, in milliseconds."""
    ms_by_stage: dict[str, float] = field(default_factory=dict)
    """Milliseconds of encode, attend, decode, remember and the rest; empty for trackers without such stages.
    """
    frames_per_second: float = 0.0
    """Number of measured frames, divided by their total time."""
    peak_memory_bytes: dict[str, int] = field(default_factory=dict)
    growth_bytes_per_frame: float | None = None
    """Slope of the resident memory over the measured frames."""
    score: float | None = None
    """J&F on the made video, in percent; None with random weights."""


def bench(
    choices: Sequence[TrackerOptions],
    options: BenchOptions | None = None,
    *,
    on_failure: Callable[[Failure], object] | None = None,
) -> list[Measured]:
    """Measure trackers in turns.

    Args:
        on_failure: see `in_turns`.

    Raises:
        InputError: a tracker cannot be loaded.
        RunError: a tracker's process ended.
    """
    options = options or BenchOptions()
    turns = [min(options.turn, options.frames - start) for start in range(0, options.frames, options.turn)]
    return in_turns(partial(_Subject, options=options), choices, turns, on_failure)


def piece_of_ground(number: int, size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box of a further object than the video has, each in a place of its own: a tracker may spare itself
    the work for objects that repeat others."""
    height, width = size_hw
    side = 0.12 * height
    # Steps of which no few come back to a place before (M. Roberts's R2 sequence).
    x, y = ((0.5 + number * step) % 1 for step in (0.7548777, 0.5698403))
    left, top = x * (width - side), y * (height - side)
    return left, top, left + side, top + side


class _Subject:
    def __init__(self, choice: TrackerOptions, *, options: BenchOptions) -> None:
        import torch

        from vidseg.pipeline.made_video import MadeVideo
        from vidseg.trackers.registry import build_tracker

        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self.choice = choice
        video = MadeVideo(num_frames=options.warm_up + options.frames + 1, size_hw=options.size_hw)
        if not 1 <= options.objects <= MAX_OBJECTS:
            raise InputError(f"--objects {options.objects}", hint=f"give 1 to {MAX_OBJECTS}")
        self.frames = iter(list(video))
        self.tracker = build_tracker(choice)
        self.session = self.tracker.start(num_frames=video.num_frames)
        boxes = [thing["prompts"][0]["box"] for thing in video.prompts()["objects"]]
        for number in range(options.objects):
            further = number - len(boxes)
            box = boxes[number] if further < 0 else piece_of_ground(further, options.size_hw)
            self.session.prompt(number + 1, box=box)
        self.ids = list(video.labels)[: options.objects]
        self.stages = StageClock(self.tracker)
        self.ms: list[float] = []
        self.ms_by_stage: list[dict[str, float]] = []
        self.resident: list[int] = []
        self.scores: list[float] = []
        for _ in range(options.warm_up):
            self._step()
        self.gflops, self.gflops_by_stage = self._count_operations()

    def run(self, count: int) -> None:
        for _ in range(count):
            self.stages.start_frame()
            ms, score = self._step()
            self.ms.append(ms)
            self.ms_by_stage.append(self.stages.end_frame(ms))
            self.resident.append(_resident_bytes())
            self.scores.append(score)

    def measured(self) -> Measured:
        model = _model_of(self.tracker)
        weights = [] if model is None else list(model.parameters())
        names = self.ms_by_stage[0]
        growth = (
            np.polyfit(range(len(self.resident)), self.resident, 1)[0] if len(self.resident) > 2 else None
        )
        return Measured(
            name=self.tracker.name,
            parameters=sum(p.numel() for p in weights),
            weight_bytes=sum(p.numel() * p.element_size() for p in weights),
            gflops=self.gflops,
            gflops_by_stage=self.gflops_by_stage,
            ms=statistics.median(self.ms),
            ms_by_stage={name: statistics.median(row[name] for row in self.ms_by_stage) for name in names},
            frames_per_second=1000 * len(self.ms) / sum(self.ms),
            peak_memory_bytes=peak_memory_bytes(),
            growth_bytes_per_frame=None if growth is None else float(growth),
            score=None if self.choice.allow_random_weights else 100 * statistics.mean(self.scores),
        )

    def _step(self) -> tuple[float, float]:
        """Milliseconds that the next frame takes, and its J&F."""
        from vidseg.eval.metrics import FramePair

        frame, truth = next(self.frames)
        began = time.perf_counter()
        result = self.session.step(frame)
        masks = result.masks
        _synchronise()
        ms = 1000 * (time.perf_counter() - began)
        label_map = np.zeros(truth.shape, np.uint8)
        for obj_id, mask in zip(result.obj_ids, masks, strict=True):
            if obj_id in self.ids:
                label_map[mask] = obj_id
        pair = FramePair(truth, label_map)
        return ms, statistics.mean([*pair.j(self.ids), *pair.f(self.ids)])

    def _count_operations(self) -> tuple[float | None, dict[str, float]]:
        model = _model_of(self.tracker)
        if model is None:
            return None, {}
        model.requires_grad_(False)  # the counter fails on gradients that are missing
        with counter() as counted:
            self.stages.count_with(counted.get_total_flops)
            self._step()
            by_stage = self.stages.end_count()
        return counted.get_total_flops() / 1e9, {name: count / 1e9 for name, count in by_stage.items()}


class StageClock:
    """Measures how much of a frame each stage of a model takes, for trackers that have one."""

    def __init__(self, tracker: Tracker) -> None:
        self._spent: dict[str, float] = {}
        self._read: Callable[[], float] = now_ms
        computing = computing_part_of(tracker)
        if computing is not None:
            self._spent = dict.fromkeys(computing.stages, 0.0)
            computing.watch = self._stage

    def start_frame(self) -> None:
        self._spent = dict.fromkeys(self._spent, 0.0)

    def end_frame(self, total: float) -> dict[str, float]:
        if not self._spent:
            return {}
        return {**self._spent, "rest": total - sum(self._spent.values())}

    def count_with(self, read: Callable[[], float]) -> None:
        self._read = read
        self.start_frame()

    def end_count(self) -> dict[str, float]:
        self._read = now_ms
        return dict(self._spent)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        before = self._read()
        yield
        self._spent[name] += self._read() - before


def efficiency(rows: Sequence[Measured], reference: str | None = None) -> list[dict[str, Any]]:
    """Parameters, GFLOPs, EER and throughput of trackers.

    EER, the efficient error rate, is (1/n) * sum(cost_i / the reference's cost_i): 1 for the reference, the
    lower the better. Papa et al. (arXiv:2309.02031), who introduced it, count parameters, bits, operations
    and model size; Sun et al. (arXiv:2410.04960) survey SAM's efficient variants by it. The costs here:
    parameters, operations a frame, and bytes of weights, which are parameters times their bits.

    Args:
        reference: name of a tracker; None: the first one that has weights. Where it was not measured, or has
            no weights, no tracker has an EER.
    """
    sized = [row for row in rows if row.parameters and row.gflops]
    base = next((row for row in sized if reference in (None, row.name)), None)
    table = []
    for row in rows:
        eer = None
        if base is not None and row in sized:
            ratios = [
                (getattr(row, key) or 0) / (getattr(base, key) or 1)
                for key in ("parameters", "gflops", "weight_bytes")
            ]
            eer = statistics.mean(ratios)
        table.append(
            {
                "name": row.name,
                "parameters_m": row.parameters / 1e6,
                "gflops": row.gflops,
                "eer": eer,
                "frames_per_second": row.frames_per_second,
                "score": row.score,
            }
        )
    return table


def as_document(rows: Sequence[Measured], options: BenchOptions, reference: str | None) -> dict[str, Any]:
    """The measurements as JSON values."""
    return {
        "machine": machine(),
        "versions": versions(),
        "settings": asdict(options),
        "trackers": [asdict(row) for row in rows],
        "efficiency": efficiency(rows, reference),
    }


def engine_of(tracker: Tracker) -> Engine | None:
    """The engine behind a tracker; None for other kinds."""
    from vidseg.trackers.engine_tracker import EngineTracker

    return tracker.engine if isinstance(tracker, EngineTracker) else None


def computing_part_of(tracker: Tracker) -> Engine | FollowingTracker | None:
    """What has a tracker's model, and lets its stages be watched; None for trackers without a model."""
    from vidseg.trackers.following import FollowingTracker

    return tracker if isinstance(tracker, FollowingTracker) else engine_of(tracker)


def _model_of(tracker: Tracker) -> Any:
    """A tracker's model, a torch module; None for trackers without one."""
    computing = computing_part_of(tracker)
    return None if computing is None else computing.model


def now_ms() -> float:
    """The time in milliseconds, once a GPU has finished its work."""
    _synchronise()
    return 1000 * time.perf_counter()


def _synchronise() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _resident_bytes() -> int:
    """Memory that the process holds now, or its peak if the system does not tell."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_memory_bytes().get("host", 0)
