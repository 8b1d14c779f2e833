"""Trackers on one GPU: do they agree with the CPU, and what does a frame take? Beside the official predictor.

    python benchmarks/gpu.py --out gpu.json --davis DAVIS       # under eight minutes
    python benchmarks/gpu.py --out gpu.json --seconds 150       # what fits, the most wanted first
    python benchmarks/gpu.py --table gpu.json                   # the rows of docs/speed.md

Weights are random (times do not depend on them), but for vidseg-nano's. Banks are full: 6 recent memories and
16 pointers. Frames come as uint8, 1280x720, from the host's memory, and end as masks of that size there.
The official predictor (extra `sam2`) is given its frames normalised on the GPU, as its loader leaves them.
Of every tracker: median and 95th percentile of milliseconds a frame (ours with masks read while the next
frame is computed, and also read at once), the most memory that was allocated and reserved, launches a frame,
the time of the first mask, and the share of the matrix products' rate.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vidseg
from vidseg.trackers.contract import Frame

SIZE_HW = (720, 1280)
PRIMED_FRAMES = 16
WARM_UP = 6
"""Steps that are not measured; recordings are made in the third."""
TERA_OPERATIONS = {"sam2.1-hiera-tiny": 0.813}
"""Operations of a frame with one object and a full bank; see `vidseg bench --table efficiency`."""
OFFICIAL = "sam2.1_hiera_t"


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    kind: str
    """'vidseg', 'vidseg --graphs', 'official' or 'official compiled'."""
    tracker: str
    objects: int
    steps: int = 60


CASES = [
    Case("vidseg --graphs", "sam2.1-hiera-tiny", 1),
    Case("official", "sam2.1-hiera-tiny", 1, 30),
    Case("vidseg", "sam2.1-hiera-tiny", 1, 30),
    Case("vidseg --graphs", "vidseg-nano", 1),
    Case("vidseg --graphs", "edgetam", 1),
    Case("vidseg --graphs", "efficienttam-ti-512", 1),
    Case("vidseg --graphs", "sam2.1-hiera-tiny", 10, 30),
    Case("official", "sam2.1-hiera-tiny", 10, 10),
    Case("vidseg", "vidseg-nano", 1),
    Case("vidseg --graphs", "sam2.1-hiera-tiny", 64, 8),
    Case("vidseg", "sam2.1-hiera-tiny", 10, 20),
    Case("official", "sam2.1-hiera-tiny", 64, 3),
    Case("official compiled", "sam2.1-hiera-tiny", 1, 30),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="the JSON to write")
    parser.add_argument(
        "--table", type=Path, help="print the rows of a JSON as Markdown, and measure nothing"
    )
    parser.add_argument("--davis", type=Path, help="a folder as DAVIS: masks are compared on its sequences")
    parser.add_argument("--frames", type=int, default=25, help="of each sequence")
    parser.add_argument("--sequences", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=460.0, help="begin nothing later than this")
    parser.add_argument("--only", help="cases whose 'kind tracker objects' contains this")
    parser.add_argument("--dtype", default="bfloat16")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(args.table.read_text())))
        return
    start = time.monotonic()
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": []}
    found["tflops"] = matrix_rate()

    def note() -> None:
        if args.out:
            args.out.write_text(json.dumps(found, indent=1))

    if args.davis:
        found["agreement"] = agreement(args.davis, args.sequences, args.frames)
        print(found["agreement"], flush=True)
    note()
    for case in CASES:
        name = f"{case.kind} {case.tracker} {case.objects}"
        if args.only and args.only not in name:
            continue
        if time.monotonic() - start > args.seconds:
            print(f"no time for {name}", flush=True)
            continue
        try:
            row = measure(case, args.dtype)
        except Exception as error:  # the others are still wanted
            row = {"error": f"{type(error).__name__}: {error}"[:300]}
        row = {"kind": case.kind, "tracker": case.tracker, "objects": case.objects, **row}
        if "median_ms" in row and case.tracker in TERA_OPERATIONS and case.objects == 1:
            row["share_of_rate"] = TERA_OPERATIONS[case.tracker] / row["median_ms"] * 1e3 / found["tflops"]
        found["rows"].append(row)
        shown = {key: value for key, value in row.items() if key != "kernels"}
        print(f"{time.monotonic() - start:6.1f} s  {shown}", flush=True)
        note()


def matrix_rate() -> float:
    """TFLOP/s of a square product in bfloat16."""
    a, b = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.bfloat16)
    times = [_gpu_ms(lambda: a @ b) for _ in range(12)]
    return 2 * 8192**3 / statistics.median(times[2:]) / 1e9


def _gpu_ms(run: Callable[[], object]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def measure(case: Case, dtype: str) -> dict[str, Any]:
    """One row: times, memory, launches."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    is_official = case.kind.startswith("official")
    step, first_mask = (official if is_official else ours)(case, dtype)
    for _ in range(WARM_UP):
        step()
    times = _times(step, case.steps)
    at_once = times if is_official else _times(lambda: step(at_once=True), case.steps // 2)
    return {
        "median_ms": statistics.median(times),
        "p95_ms": float(np.percentile(times, 95)),
        "at_once_ms": statistics.median(at_once),
        "first_mask_s": first_mask,
        "allocated_gb": torch.cuda.max_memory_allocated() / 1e9,
        "reserved_gb": torch.cuda.max_memory_reserved() / 1e9,
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


def ours(case: Case, dtype: str) -> tuple[Callable[..., object], float]:
    """A step that gives the masks of the frame before in the host's memory, or its own `at_once`; and the
    seconds to the first mask."""
    graphs = case.kind == "vidseg --graphs"
    tracker = vidseg.load(case.tracker, allow_random_weights=True, device="cuda", dtype=dtype, graphs=graphs)
    session = tracker.start()
    pictures = noise(4)
    begin = time.perf_counter()
    for obj_id, prompt in prompts(case.objects):
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
def official(case: Case, dtype: str) -> tuple[Callable[..., object], float]:
    """Like `ours`, by the calls that the official `propagate_in_video` makes for a frame."""
    is_compiled = case.kind == "official compiled"
    options = {"config": OFFICIAL, "device": "cuda", "dtype": dtype, "compile": is_compiled}
    tracker = vidseg.load("sam2-reference", allow_random_weights=True, keep_frames=False, **options)
    session, predictor = tracker.start(), tracker.predictor
    side = predictor.image_size
    inputs = torch.randn(4, 3, side, side, device="cuda")
    begin = time.perf_counter()
    for obj_id, prompt in prompts(case.objects):
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
            for obj_idx in range(case.objects):
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
        torch.cuda.synchronize()
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


def agreement(davis: Path, sequences: int, most_frames: int) -> dict[str, Any]:
    """vidseg-nano on the GPU beside itself on the CPU: mean IoU of their masks, and J of each."""
    from davis import frames_of, truths_of

    found: dict[str, Any] = {}
    kinds: dict[str, dict[str, Any]] = {
        "float32": {"dtype": "float32"},
        "float32_graphs": {"dtype": "float32", "graphs": True},
        "bfloat16_graphs": {"dtype": "bfloat16", "graphs": True},
    }
    for folder in sorted((davis / "JPEGImages/480p").iterdir())[:sequences]:
        truths = truths_of(davis / "Annotations/480p" / folder.name)[:most_frames]
        frames = list(itertools.islice(frames_of(folder), len(truths)))
        on_cpu = _masks(vidseg.load("vidseg-nano", device="cpu", dtype="float32"), frames, truths[0])
        row: dict[str, Any] = {"j_cpu": _mean_iou(on_cpu[1:], truths[1:])}
        for name, options in kinds.items():
            got = _masks(vidseg.load("vidseg-nano", device="cuda", **options), frames, truths[0])
            row |= {f"iou_{name}": _mean_iou(got, on_cpu), f"j_{name}": _mean_iou(got[1:], truths[1:])}
        found[folder.name] = row
    return found


def _masks(tracker: Any, frames: list[Frame], truth: np.ndarray) -> list[np.ndarray]:
    session = tracker.start()
    session.prompt(1, mask=truth)
    return [session.step(frame).masks[0] for frame in frames]


def _mean_iou(masks: list[np.ndarray], others: list[np.ndarray]) -> float:
    return float(np.mean([_iou(a, b) for a, b in zip(masks, others, strict=True)]))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.count_nonzero(a | b)
    return 1.0 if not union else np.count_nonzero(a & b) / union


def table(found: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        f"{found['gpu']}, PyTorch {found['torch']}, {found['tflops']:.0f} TFLOP/s in matrix products.",
        "",
        "| | objects | median ms | p95 | read at once | launches | GPU busy, ms | GB allocated, reserved "
        "| first mask, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        if "median_ms" not in row:
            continue
        told = row.get("launches", 0.0), row.get("gpu_busy_ms", 0.0)
        lines.append(
            f"| {row['kind']}: `{row['tracker']}` | {row['objects']} | {row['median_ms']:.1f} "
            f"| {row['p95_ms']:.1f} | {row['at_once_ms']:.1f} | {told[0]:.0f} | {told[1]:.1f} "
            f"| {row['allocated_gb']:.2f}, {row['reserved_gb']:.2f} | {row['first_mask_s']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
