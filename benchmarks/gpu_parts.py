"""What gpu.py measures and checks, part by part; each runs in a process that gpu.py begins.

Weights are random (times do not depend on them), but for vidseg-nano's. Banks are full: 6 recent memories and
16 pointers. Frames come as uint8, 1280x720, from the host's memory, and end as masks of that size there.
The official predictor (extra `sam2`) is given its frames normalised on the GPU, as its loader leaves them.
Of every tracker: median and 95th percentile of milliseconds a frame (ours with masks read while the next
frame is computed, and also read at once), the most memory that was allocated and reserved, launches a frame,
the time of the first mask, and the operations of a frame's matrix products.

Every part takes `dtype`, and `small`: whether it only rehearses on a CPU.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vidseg
from vidseg.masks import iou
from vidseg.trackers.contract import Frame

SIZE_HW = (720, 1280)
PRIMED_FRAMES = 16
WARM_UP = 6
"""Steps that are not measured; recordings are made in the third."""
TERA_OPERATIONS = {"sam2.1-hiera-tiny": 0.813}
"""Operations of a frame with one object and a full bank; see `vidseg bench --table efficiency`."""
OFFICIAL = "sam2.1_hiera_t"
SMALL = 256
"""Side of the model input in rehearsals."""
TESTS = Path(__file__).parents[1] / "tests/trackers/test_cuda.py"


def rate(dtype: str, small: bool) -> dict[str, Any]:
    """TFLOP/s of a square product in bfloat16, and what this machine is."""
    side, device = (256, "cpu") if small else (8192, "cuda")
    a, b = torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
    times = [_ms(lambda: a @ b) for _ in range(12)]
    gpu = "none" if small else torch.cuda.get_device_name()
    tflops = 2 * side**3 / statistics.median(times[2:]) / 1e9
    return {"tflops": tflops, "gpu": gpu, "torch": torch.__version__}


def _ms(run: Callable[[], object]) -> float:
    _wait()
    began = time.perf_counter()
    run()
    _wait()
    return 1e3 * (time.perf_counter() - began)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def frames(kind: str, tracker: str, objects: int, steps: int, dtype: str, small: bool) -> dict[str, Any]:
    """One row of the table.

    Args:
        kind: 'vidseg', 'vidseg --graphs', 'vidseg compiled', 'official' or 'official compiled'.
    """
    options: dict[str, Any] = {"device": "cuda", "dtype": dtype, "allow_random_weights": True}
    if small:
        options |= {"device": "cpu", "image_size": SMALL}
        kind, steps, objects = kind.split(" ")[0], 2, min(objects, 3)
    is_official = kind.startswith("official")
    began = time.perf_counter()
    step, first_mask = (official if is_official else ours)(kind, tracker, objects, options)
    for _ in range(1 if small else WARM_UP):
        step()
    ready = time.perf_counter() - began
    times = _times(step, steps)
    at_once = times if is_official else _times(lambda: step(at_once=True), steps // 2)
    on_gpu = torch.cuda.is_available()
    return {
        "median_ms": statistics.median(times),
        "p95_ms": float(np.percentile(times, 95)),
        "at_once_ms": statistics.median(at_once),
        "first_mask_s": first_mask,
        "ready_s": ready,
        "allocated_gb": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0,
        "reserved_gb": torch.cuda.max_memory_reserved() / 1e9 if on_gpu else 0.0,
        "tera_operations": TERA_OPERATIONS.get(tracker) if objects == 1 else None,
        **_told_launches(step),
    }


def _times(step: Callable[[], object], count: int) -> list[float]:
    """Milliseconds of each step."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - begin))
    return times


def ours(kind: str, name: str, objects: int, options: dict[str, Any]) -> tuple[Callable[..., object], float]:
    """A step that gives the masks of the frame before in the host's memory, or its own `at_once`; and the
    seconds to the first mask."""
    _forget_memory()
    faster = {"graphs": kind == "vidseg --graphs", "compile": kind == "vidseg compiled"}
    tracker: Any = vidseg.load(name, **options, **faster)
    session = tracker.start()
    pictures = noise(4)
    begin = time.perf_counter()
    for obj_id, prompt in prompts(objects):
        session.prompt(obj_id, **prompt)
    _ = session.step(Frame(0, 0.0, image=pictures[0])).masks
    first_mask = time.perf_counter() - begin
    for bank in session.banks.values():
        for index in range(1, PRIMED_FRAMES):
            memory = copy(bank.conditioning[0])
            memory.frame_idx, memory.is_initial = index, False
            bank.remember(memory)
    numbers = itertools.count(PRIMED_FRAMES)
    results: list[Any] = []

    def step(at_once: bool = False) -> object:
        index = next(numbers)
        results.append(session.step(Frame(index, index / 30, image=pictures[index % 4])))
        del results[:-2]
        return results[-1 if at_once else 0].masks

    return step, first_mask


@torch.inference_mode()
def official(
    kind: str, name: str, objects: int, options: dict[str, Any]
) -> tuple[Callable[..., object], float]:
    """The figures of `ours`, by the calls that the official `propagate_in_video` makes for a frame."""
    _forget_memory()
    is_compiled = kind == "official compiled"
    given = {**options, "config": OFFICIAL, "compile": is_compiled, "keep_frames": False}
    tracker: Any = vidseg.load("sam2-reference", **given)
    session, predictor = tracker.start(), tracker.predictor
    side = predictor.image_size
    inputs = torch.randn(4, 3, side, side, device=options["device"])
    begin = time.perf_counter()
    for obj_id, prompt in prompts(objects):
        session.prompt(obj_id, **prompt)
    _ = session.step(Frame(0, 0.0, model_input=inputs[0], size_hw=SIZE_HW)).masks
    first_mask = time.perf_counter() - begin
    state = session._state
    for outputs in state["output_dict_per_obj"].values():
        for index in range(1, PRIMED_FRAMES):
            outputs["non_cond_frame_outputs"][index] = outputs["cond_frame_outputs"][0]
    numbers = itertools.count(PRIMED_FRAMES)

    @torch.inference_mode()
    def step() -> object:
        index = next(numbers)
        if is_compiled:
            torch.compiler.cudagraph_mark_step_begin()
        session._take(Frame(index, index / 30, model_input=inputs[index % 4], size_hw=SIZE_HW))
        masks = []
        with session._computing():
            for obj_idx in range(objects):
                outputs = state["output_dict_per_obj"][obj_idx]
                output, mask = predictor._run_single_frame_inference(
                    inference_state=state,
                    output_dict=outputs,
                    frame_idx=index,
                    batch_size=1,
                    is_init_cond_frame=False,
                    point_inputs=None,
                    mask_inputs=None,
                    reverse=False,
                    run_mem_encoder=True,
                )
                outputs["non_cond_frame_outputs"][index] = output
                outputs["non_cond_frame_outputs"].pop(index - PRIMED_FRAMES - 1, None)
                masks.append(mask)
            _, video_res = predictor._get_orig_video_res_output(state, torch.cat(masks))
        return (video_res > 0).cpu().numpy()

    return step, first_mask


def _forget_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def noise(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, *SIZE_HW, 3), np.uint8))


def prompts(objects: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for obj_id in range(1, objects + 1):
        x = SIZE_HW[1] * obj_id / (objects + 1)
        yield obj_id, {"points": [[x, SIZE_HW[0] / 2]], "labels": [1]}


def _told_launches(step: Callable[[], object]) -> dict[str, Any]:
    """`launches`, or why the driver does not tell them."""
    try:
        return launches(step)
    except RuntimeError as error:
        return {"launches_error": str(error)[:200]}


def launches(step: Callable[[], object]) -> dict[str, Any]:
    """Launches by the host in a step (a graph is one), the milliseconds in which the GPU computes, and the
    kernels that take most of them."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        for _ in range(2):
            step()
        _wait()
    events = found.events()
    names = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")
    kernels: dict[str, list[float]] = {}
    for event in events:
        if event.device_type == DeviceType.CUDA:
            kernels.setdefault(event.name[:90], []).append(event.time_range.elapsed_us() / 1e3)
    most = sorted(kernels.items(), key=lambda item: -sum(item[1]))
    return {
        "launches": sum(event.name.startswith(names) for event in events) / 2,
        "gpu_busy_ms": sum(sum(times) for times in kernels.values()) / 2,
        "kernels": [[name, round(sum(times) / 2, 4), len(times) / 2] for name, times in most[:40]],
    }


def agreement(davis: str, sequence: int, frames: int, dtype: str, small: bool) -> dict[str, Any]:
    """vidseg-nano on the GPU beside itself on the CPU, on one sequence: mean IoU of masks, and J of each."""
    from davis import frames_of, truths_of

    device = "cpu" if small else "cuda"
    kinds: dict[str, dict[str, Any]] = {
        "float32": {"dtype": "float32"},
        "float32_graphs": {"dtype": "float32", "graphs": not small},
        "bfloat16_graphs": {"dtype": "bfloat16", "graphs": not small},
    }
    root = Path(davis)
    folder = sorted((root / "JPEGImages/480p").iterdir())[sequence]
    truths = truths_of(root / "Annotations/480p" / folder.name)[: 3 if small else frames]
    pictures = list(itertools.islice(frames_of(folder), len(truths)))
    on_cpu = _masks(vidseg.load("vidseg-nano", device="cpu", dtype="float32"), pictures, truths[0])
    row: dict[str, Any] = {"of": folder.name, "j_cpu": _mean_iou(on_cpu[1:], truths[1:])}
    for name, options in kinds.items():
        got = _masks(vidseg.load("vidseg-nano", device=device, **options), pictures, truths[0])
        row |= {f"iou_{name}": _mean_iou(got, on_cpu), f"j_{name}": _mean_iou(got[1:], truths[1:])}
    return row


def _masks(tracker: Any, pictures: list[Frame], truth: np.ndarray) -> list[np.ndarray]:
    session = tracker.start()
    session.prompt(1, mask=truth)
    return [session.step(frame).masks[0] for frame in pictures]


def _mean_iou(masks: list[np.ndarray], others: list[np.ndarray]) -> float:
    return float(np.mean([iou(a, b) for a, b in zip(masks, others, strict=True)]))


def tests(which: str, dtype: str, small: bool) -> dict[str, Any]:
    """Tests of trackers on a GPU beside the CPU: how many passed, and which failed."""
    how = ["-q", "-rf", "--tb=line", "-m", "not slow", "-k", which]
    command = [sys.executable, "-m", "pytest", *how, str(TESTS)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parents[2], check=False)
    lines = ran.stdout.splitlines()
    failed = [line[:200] for line in lines if line.startswith("FAILED")]
    return {"summary": lines[-1] if lines else ran.stderr[-300:], "failed": failed}


def streams(processes: int, streams: int, dtype: str, small: bool) -> dict[str, Any]:
    """Frames a second of several streams, and the memory of a session and an object; see streams.py."""
    from streams import together

    asked = argparse.Namespace(
        tracker="sam2.1-hiera-tiny",
        device="cpu" if small else "cuda",
        dtype=dtype,
        image_size=SMALL if small else None,
        frames=2 if small else 20,
        threads=1 if small else None,
    )
    return asdict(together(asked, processes, streams, 1))


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "rate": rate,
    "frames": frames,
    "agreement": agreement,
    "tests": tests,
    "streams": streams,
}
