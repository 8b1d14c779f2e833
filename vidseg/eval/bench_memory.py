"""Measures what an engine tracker remembers of an object, and what reading it costs.

Time is that of memory attention alone, for every number of objects and of memory frames. Frames are noise,
and memories are copies of the first one, as neither size nor time depends on what they show.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vidseg.errors import InputError
from vidseg.eval.bench import engine_of, now_ms
from vidseg.memory.bank import Moment, ObjectBank
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker

OBJECTS = (1, 2, 5)
MEMORY_FRAMES = (1, 4, 7)
POINTERS = 16
"""How many object pointers a full bank has."""
SIZE_HW = (720, 1280)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The cost of reading with some number of objects and of memory frames."""

    objects: int
    memory_frames: int
    tokens: int
    """How many spatial tokens one object's attention reads."""
    ms: float
    """Median wall time of memory attention for all objects, in milliseconds."""
    cpu_ms: float


@dataclass(frozen=True, kw_only=True)
class MemoryMeasured:
    """The measurements of one tracker, with the full bank of one object, between two frames."""

    name: str
    bank_tokens: int
    """How many spatial tokens the bank keeps."""
    bank_bytes: int
    """Bytes of these tokens and of the object pointers."""
    readings: list[Reading]

    @property
    def tokens_read(self) -> int:
        """How many spatial tokens are read with the most memory frames."""
        return max(reading.tokens for reading in self.readings)


def bench_memory(
    choice: TrackerOptions,
    *,
    objects: Sequence[int] = OBJECTS,
    memory_frames: Sequence[int] = MEMORY_FRAMES,
    repeats: int = 3,
    threads: int | None = None,
) -> MemoryMeasured:
    """Measure one tracker; one more round than `repeats` warms up.

    Raises:
        InputError: the tracker cannot be loaded, or has no memory bank.
    """
    import torch

    from vidseg.trackers.contract import Frame

    if threads is not None:
        torch.set_num_threads(threads)
    tracker: Any = build_tracker(choice)
    engine = engine_of(tracker)
    if engine is None:
        raise InputError(
            f"the tracker '{choice.tracker}' keeps no memory bank", hint="give an engine tracker"
        )
    size = engine.model.image_size
    noise = np.random.default_rng(0).standard_normal((3, size, size), dtype=np.float32)
    frame = Frame(0, 0.0, model_input=noise, size_hw=SIZE_HW)
    session = tracker.start()
    for obj_id in range(1, max(objects) + 1):
        x = SIZE_HW[1] * obj_id / (max(objects) + 1)
        session.prompt(obj_id, box=[x - 60, 300, x + 60, 420])
    session.step(frame)
    moment = Moment(POINTERS)
    filled = {
        count: [_filled(bank, count, engine.policy, moment) for bank in session.banks.values()]
        for count in memory_frames
    }
    cells = [(rows, count) for rows in objects for count in memory_frames]
    wall: dict[tuple[int, int], list[float]] = {cell: [] for cell in cells}
    cpu: dict[tuple[int, int], list[float]] = {cell: [] for cell in cells}
    tokens = {}
    limit = engine.policy.pointer_limit(moment)
    with torch.inference_mode():
        features = engine.encode(frame)
        for repeat in range(repeats + 1):
            for rows, count in cells:
                recalls = [engine.policy.recall(bank, moment) for bank in filled[count][:rows]]
                tokens[count] = sum(recalls[0].shape[:-2])
                began, cpu_began = now_ms(), time.process_time()
                engine.model.attend(features, recalls, limit)
                if repeat:
                    wall[rows, count].append(now_ms() - began)
                    cpu[rows, count].append(1000 * (time.process_time() - cpu_began))
    full = filled[max(memory_frames)][0]
    kept = full.frames
    spatial = [f.tokens_nc for f in kept if f.tokens_nc is not None]
    return MemoryMeasured(
        name=tracker.name,
        bank_tokens=sum(t.shape[0] for t in spatial),
        bank_bytes=sum(t.numel() * t.element_size() for t in (*spatial, *(f.pointer_c for f in kept))),
        readings=[
            Reading(
                objects=rows,
                memory_frames=count,
                tokens=tokens[count],
                ms=statistics.median(wall[rows, count]),
                cpu_ms=statistics.median(cpu[rows, count]),
            )
            for rows, count in cells
        ],
    )


def _filled(bank: ObjectBank, memory_frames: int, policy: Any, moment: Moment) -> ObjectBank:
    """A bank at `moment` with that many of the newest memory frames, and the pointers of older ones."""
    out = ObjectBank(bank.conditioning)
    first = next(iter(bank.conditioning.values()))
    for index in range(1, moment.frame_idx):
        back = moment.frames_back(index)
        if back < memory_frames or back > policy.recent_frames:
            memory = copy(first)
            memory.frame_idx, memory.is_initial = index, False
            out.remember(memory)
    policy.evict(out, replace(moment, frame_idx=moment.frame_idx - 1))
    return out


def as_text(rows: Sequence[MemoryMeasured]) -> str:
    """A table: a line for each tracker and number of objects, a column for each number of memory frames."""
    frames = list(dict.fromkeys(reading.memory_frames for row in rows for reading in row.readings))
    width = max(8, *(len(row.name) for row in rows))
    head = f"{'tracker':<{width}} {'kept':>8} {'KiB':>8} {'read':>8} {'objects':>8}"
    lines = [head + "".join(f" {f'{count} frames':>10}" for count in frames)]
    for row in rows:
        facts = f"{row.name:<{width}} {row.bank_tokens:8d} {row.bank_bytes / 1024:8.0f} {row.tokens_read:8d}"
        for objects in dict.fromkeys(reading.objects for reading in row.readings):
            times = {r.memory_frames: r.ms for r in row.readings if r.objects == objects}
            cells = "".join(f" {times.get(count, math.nan):10.1f}" for count in frames)
            lines.append(f"{facts} {objects:8d}{cells}")
            facts = " " * len(facts)
    lines += ["", "spatial tokens kept and read, KiB with the pointers, of one object with a full bank;"]
    return "\n".join([*lines, "ms of memory attention by memory frames, medians"])
