"""Our SAM 2 engine beside the official predictor: same weights, same frames, full memory, alternated.

    python benchmarks/engine_speed.py --objects 1 5 --dtypes float32 bfloat16 --repeats 3

Weights are random (times do not depend on them) and shared. Both banks are filled with copies of the first
frame's memory (6 recent frames and 15 pointers besides the conditioning frame), so that every measured frame
costs what a frame in the middle of a video costs. Frames arrive decoded and normalised.
Needs the extra `sam2`.

On a GPU, `--compile` has both compile, each in its own way, and peaks of the GPU's memory are told: weights,
banks, and what a step takes above them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import torch

import vidseg
from vidseg.pipeline.machine import machine
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
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    config = REFERENCE_CONFIG[options.tracker]
    state = vidseg.load("sam2-reference", allow_random_weights=True, config=config).predictor.state_dict()
    makers = {
        "vidseg": (partial(vidseg.load, options.tracker), primed_engine),
        "official": (partial(vidseg.load, "sam2-reference", config=config), primed_official),
    }
    trackers, weights_bytes = {}, {}
    for dtype in options.dtypes:
        common = {
            "weights": state,
            "image_size": options.image_size,
            "dtype": dtype,
            "device": options.device,
            "compile": options.compile,
        }
        for maker, (load, prime) in makers.items():
            before = gpu_bytes(options.device)
            name = f"{maker} {dtype}"
            trackers[name] = load(**common), prime
            weights_bytes[name] = gpu_bytes(options.device) - before
    rows = []
    for objects in options.objects:
        sessions, held = {}, {}
        for name, (tracker, prime) in trackers.items():
            before = gpu_bytes(options.device)
            sessions[name] = prime(tracker, objects, options.image_size)
            held[name] = weights_bytes[name] + gpu_bytes(options.device) - before
        times = alternate(sessions, held, options)
        for name, row in times.items():
            rows.append({"objects": objects, "tracker": name, **row})
            print(
                f"{objects:3d} objects  {name:20s} {row['seconds_a_frame']:8.4f} s a frame  "
                f"{row['cpu_seconds']:8.3f} CPU s" + (f"  {row['gpu_gb']:6.2f} GB" if row["gpu_gb"] else ""),
                flush=True,
            )
        print_ratios(objects, {name: row["seconds_a_frame"] for name, row in times.items()})
    facts = {
        "machine": platform.processor() or platform.machine(),
        "cpu": machine()["processor"],
        "threads": options.threads,
        "device": options.device,
        "torch": torch.__version__,
        "image_size": options.image_size,
        "matmul_gflops": {dtype: matmul_rate(dtype, options.device) for dtype in options.dtypes},
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
            bank.remember(memory)
    return session


def primed_official(tracker: Any, objects: int, image_size: int) -> Any:
    session = prompted(tracker.start(), objects, image_size)
    for outputs in session._state["output_dict_per_obj"].values():
        for index in range(1, PRIMED_FRAMES):
            outputs["non_cond_frame_outputs"][index] = outputs["cond_frame_outputs"][0]
    return session


def alternate(
    sessions: dict[str, Any], held: dict[str, int], options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Median wall and CPU seconds of a step, every tracker in turn on each frame; the first ones warm up.

    And the peak of the GPU's memory: the bytes held between steps, and the most that a step takes above them.
    """
    walls: dict[str, list[float]] = {name: [] for name in sessions}
    cpus: dict[str, list[float]] = {name: [] for name in sessions}
    above = dict.fromkeys(sessions, 0)
    warm_up = 5 if options.device.startswith("cuda") else 1
    for repeat in range(options.repeats + warm_up):
        frame = frame_at(PRIMED_FRAMES + repeat, options.image_size)
        for name, session in sessions.items():
            before = gpu_bytes(options.device)
            wall, cpu = time.perf_counter(), time.process_time()
            session.step(frame)
            synchronise(options.device)
            if repeat >= warm_up:
                walls[name].append(time.perf_counter() - wall)
                cpus[name].append(time.process_time() - cpu)
                above[name] = max(above[name], gpu_peak_bytes(options.device) - before)
    return {
        name: {
            "seconds_a_frame": statistics.median(walls[name]),
            "cpu_seconds": statistics.median(cpus[name]),
            "gpu_gb": (held[name] + above[name]) / 1e9,
        }
        for name in sessions
    }


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def gpu_bytes(device: str) -> int:
    """Bytes of GPU memory in use, 0 on the CPU. The peak is measured from this call on."""
    if not device.startswith("cuda"):
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def gpu_peak_bytes(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0


def print_ratios(objects: int, walls: dict[str, float]) -> None:
    for name, wall in walls.items():
        if name.startswith("vidseg"):
            ratios = [
                f"{w / wall:.2f}x {other}" for other, w in walls.items() if other.startswith("official")
            ]
            print(f"{objects:3d} objects  {name}: {', '.join(ratios)}", flush=True)


def matmul_rate(dtype: str, device: str = "cpu") -> float:
    """GFLOP/s of a square matrix product: the yardstick of the machine."""
    size = 2048 if device == "cpu" else 8192
    a = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    best = min(_timed(a, device) for _ in range(5))
    return round(2 * size**3 / best / 1e9, 1)


def _timed(a: torch.Tensor, device: str) -> float:
    synchronise(device)
    start = time.perf_counter()
    a @ a
    synchronise(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
