"""Our SAM 2 engine beside the official predictor: same weights, same frames, full memory, alternated.

    python benchmarks/engine_speed.py --objects 1 5 --dtypes float32 bfloat16 --repeats 3

Weights are random (times do not depend on them) and shared. Both banks are filled with copies of the first
frame's memory (6 recent frames and 15 pointers besides the conditioning frame), so that every measured frame
costs what a frame in the middle of a video costs. Frames arrive decoded and normalised.
Needs the extra `sam2`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from copy import copy
from typing import Any

import numpy as np
import torch

import vidseg
from vidseg.trackers.contract import Frame

REFERENCE_CONFIG = {"sam2.1-hiera-tiny": "sam2.1_hiera_t", "sam2-hiera-tiny": "sam2_hiera_t"}
PRIMED_FRAMES = 16
SIZE_HW = (720, 1280)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tracker", default="sam2.1-hiera-tiny", choices=sorted(REFERENCE_CONFIG))
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    config = REFERENCE_CONFIG[options.tracker]
    state = vidseg.load("sam2-reference", allow_random_weights=True, config=config).predictor.state_dict()
    rows = []
    for objects in options.objects:
        sessions = {}
        for dtype in options.dtypes:
            common = {"weights": state, "image_size": options.image_size, "dtype": dtype}
            ours = vidseg.load(options.tracker, device=options.device, **common)
            official = vidseg.load("sam2-reference", device=options.device, config=config, **common)
            sessions[f"vidseg {dtype}"] = primed_engine(ours, objects, options.image_size)
            sessions[f"official {dtype}"] = primed_official(official, objects, options.image_size)
        times = alternate(sessions, options)
        for name, (wall, cpu) in times.items():
            rows.append({"objects": objects, "tracker": name, "seconds_a_frame": wall, "cpu_seconds": cpu})
            print(f"{objects:3d} objects  {name:20s} {wall:8.3f} s a frame  {cpu:8.3f} CPU s", flush=True)
        print_ratios(objects, {name: wall for name, (wall, _) in times.items()})
    facts = {
        "machine": platform.processor() or platform.machine(),
        "cpu": cpu_name(),
        "threads": options.threads,
        "device": options.device,
        "torch": torch.__version__,
        "image_size": options.image_size,
        "matmul_gflops": {dtype: matmul_rate(dtype) for dtype in options.dtypes},
        "rows": rows,
    }
    print(json.dumps({key: value for key, value in facts.items() if key != "rows"}))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=2)


def frame_at(index: int, image_size: int) -> Frame:
    noise = np.random.default_rng(index).standard_normal((3, image_size, image_size), dtype=np.float32)
    return Frame(index, index / 30, model_input=noise, size_hw=SIZE_HW)


def prompted(session: Any, objects: int, image_size: int) -> Any:
    for obj_id in range(1, objects + 1):
        x = SIZE_HW[1] * obj_id / (objects + 1)
        session.prompt(obj_id, points=[[x, SIZE_HW[0] / 2]], labels=[1])
    session.step(frame_at(0, image_size))
    return session


def primed_engine(tracker: Any, objects: int, image_size: int) -> Any:
    session = prompted(tracker.start(), objects, image_size)
    for bank in session.banks.values():
        for index in range(1, PRIMED_FRAMES):
            memory = copy(bank.conditioning[0])
            memory.frame_idx, memory.is_initial = index, False
            bank.tracked[index] = memory
    return session


def primed_official(tracker: Any, objects: int, image_size: int) -> Any:
    session = prompted(tracker.start(), objects, image_size)
    for outputs in session._state["output_dict_per_obj"].values():
        for index in range(1, PRIMED_FRAMES):
            outputs["non_cond_frame_outputs"][index] = outputs["cond_frame_outputs"][0]
    return session


def alternate(sessions: dict[str, Any], options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds of a step, every tracker in turn on each frame; the first one warms up."""
    walls: dict[str, list[float]] = {name: [] for name in sessions}
    cpus: dict[str, list[float]] = {name: [] for name in sessions}
    for repeat in range(options.repeats + 1):
        frame = frame_at(PRIMED_FRAMES + repeat, options.image_size)
        for name, session in sessions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            session.step(frame)
            if options.device.startswith("cuda"):
                torch.cuda.synchronize()
            if repeat:
                walls[name].append(time.perf_counter() - wall)
                cpus[name].append(time.process_time() - cpu)
    return {n: (statistics.median(walls[n]), statistics.median(cpus[n])) for n in sessions}


def print_ratios(objects: int, walls: dict[str, float]) -> None:
    for name, wall in walls.items():
        if name.startswith("vidseg"):
            ratios = [
                f"{w / wall:.2f}x {other}" for other, w in walls.items() if other.startswith("official")
            ]
            print(f"{objects:3d} objects  {name}: {', '.join(ratios)}", flush=True)


def matmul_rate(dtype: str, size: int = 2048) -> float:
    """GFLOP/s of a square matrix product: the yardstick of the machine."""
    a = torch.randn(size, size).to(getattr(torch, dtype))
    best = min(_timed(a) for _ in range(5))
    return round(2 * size**3 / best / 1e9, 1)


def _timed(a: torch.Tensor) -> float:
    start = time.perf_counter()
    a @ a
    return time.perf_counter() - start


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"


if __name__ == "__main__":
    main()
