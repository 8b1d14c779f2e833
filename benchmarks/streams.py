"""Several streams at once on one device: frames a second, and memory for each session and object.

    python benchmarks/streams.py --tracker sam2.1-hiera-tiny --device cuda \
        [--streams 1 4] [--objects 1 10] [--processes 1 4] [--json FILE]

A process has a tracker and a session for each of its streams, which step in turns. Several processes share
the device as workers of `vidseg batch --gpus 0.25` do. Weights are random, on which neither time nor memory
depends; frames are noise of 1280x720.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vidseg
from vidseg.pipeline.machine import peak_memory_bytes

SIZE_HW = (720, 1280)
WARM_UP = 10
"""Frames after which banks are full and nothing is compiled or recorded any more."""
DISTINCT = 6
"""How many pictures there are; they come again and again."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one process measured, or what several did together."""

    tracker: str
    device: str
    dtype: str
    processes: int
    streams: int
    """Sessions of each process."""
    objects: int
    """Objects of each session."""
    frames_per_second: float
    """Frames of all streams of all processes."""
    ms: float
    """Median time of a step."""
    session_bytes: int
    """Memory that a session holds between two frames."""
    object_bytes: int
    """Of that, what belongs to one object: its bank."""
    peak_bytes: int
    """Most memory of one process, on the device; of a CPU, the whole process."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tracker", default="sam2.1-hiera-tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--frames", type=int, default=20, help="measured frames of each stream")
    parser.add_argument("--threads", type=int, help="threads of each process")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for processes in asked.processes:
        for streams in asked.streams:
            for objects in asked.objects:
                rows.append(together(asked, processes, streams, objects))
                print(as_line(rows[-1]), flush=True)
                if asked.json is not None:
                    asked.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def together(asked: argparse.Namespace, processes: int, streams: int, objects: int) -> Measured:
    """Measure in new processes, so that one measurement leaves no memory to the next one."""
    context = get_context("spawn")
    start, results = context.Barrier(processes), context.Queue()
    arguments = (asked, streams, objects, start, results)
    running = [context.Process(target=serve, args=arguments, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    try:
        answers = [results.get(timeout=600) for _ in running]
    finally:
        for process in running:
            process.terminate()
            process.join()
    first = answers[0]
    return Measured(
        **{
            **first,
            "processes": processes,
            "frames_per_second": round(sum(answer["frames_per_second"] for answer in answers), 2),
            "ms": round(statistics.median(answer["ms"] for answer in answers), 2),
            "peak_bytes": max(answer["peak_bytes"] for answer in answers),
        }
    )


@torch.inference_mode()
def serve(asked: argparse.Namespace, streams: int, objects: int, start: Barrier, results: Any) -> None:
    """One process: all load first, then all measure at the same time."""
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    options = {"device": asked.device, "dtype": asked.dtype, "image_size": asked.image_size}
    tracker: Any = vidseg.load(asked.tracker, allow_random_weights=True, **options)
    noise = np.random.default_rng(0)
    pictures = [noise.integers(0, 255, (*SIZE_HW, 3), np.uint8) for _ in range(DISTINCT)]
    sessions = [tracker.start() for _ in range(streams)]
    for session in sessions:
        for obj_id in range(1, objects + 1):
            x = SIZE_HW[1] * obj_id / (objects + 1)
            session.prompt(obj_id, box=[x - 50, 300, x + 50, 420])
    for index in range(WARM_UP):
        step_all(sessions, pictures, index)
    gc.collect()
    start.wait()
    times: list[float] = []
    began = time.perf_counter()
    for index in range(WARM_UP, WARM_UP + asked.frames):
        times += step_all(sessions, pictures, index)
    seconds = time.perf_counter() - began
    start.wait()  # nobody frees the device while others still measure
    peak = peak_memory_bytes()
    facts = tracker.describe()
    results.put(
        {
            "tracker": tracker.name,
            "device": facts["device"],
            "dtype": facts["dtype"],
            "streams": streams,
            "objects": objects,
            "frames_per_second": len(times) / seconds,
            "ms": 1000 * statistics.median(times),
            "session_bytes": num_bytes(sessions[0]),
            "object_bytes": num_bytes(next(iter(sessions[0].banks.values()))),
            "peak_bytes": peak.get("gpu", peak["host"]),
        }
    )
    results.close()
    results.join_thread()


def step_all(sessions: list[Any], pictures: list[Any], index: int) -> list[float]:
    """Each session by a frame, with its masks at the video's size; seconds of each."""
    times = []
    for number, session in enumerate(sessions):
        frame = vidseg.Frame(index, index / 25, pictures[(index + number) % DISTINCT])
        began = time.perf_counter()
        masks = session.step(frame).masks  # this waits for the device
        times.append(time.perf_counter() - began)
        assert len(masks) == len(session.obj_ids)
    return times


def num_bytes(thing: Any) -> int:
    """Bytes of the tensors that a session or a bank holds; of each storage once, whoever shares it."""
    found: dict[int, int] = {}
    seen: set[int] = set()
    waiting = [thing]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            found[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif type(value).__module__.startswith("vidseg.") and not isinstance(value, torch.nn.Module):
            slots = [name for base in type(value).__mro__ for name in getattr(base, "__slots__", ())]
            names = [*getattr(value, "__dict__", {}), *slots]
            waiting += [getattr(value, name) for name in names if name != "engine" and hasattr(value, name)]
    return sum(found.values())


def as_line(row: Measured) -> str:
    mb = 1e6
    kept = f"session {row.session_bytes / mb:.1f} MB, object {row.object_bytes / mb:.2f} MB"
    return (
        f"{row.tracker} {row.device} {row.dtype}: {row.processes} x {row.streams} streams, "
        f"{row.objects} objects: {row.frames_per_second:.1f} frames/s, {row.ms:.1f} ms a step, {kept}, "
        f"peak {row.peak_bytes / mb:.0f} MB a process"
    )


if __name__ == "__main__":
    main()
