"""CPU seconds a frame of the efficient family by stage, in turns, beside a fixed matrix product.

    python benchmarks/family_speed.py --trackers edgetam efficienttam-ti sam2.1-hiera-tiny \
        [--official edgetam=CHECKOUT efficienttam-ti=CHECKOUT] [--dtypes float32 bfloat16] [--threads 2]

Every tracker has a process of its own; all take turns frame by frame, and so does a float32 matrix product.
Weights are random (times do not depend on them), memory is full: 7 spatial memories and 16 pointers. Frames
arrive decoded and normalised.

Machines differ, so what is compared with the official code's published figures is CPU seconds times the rate
of the matrix product: the operations that the machine could have done meanwhile. CHECKOUT is one of
facebookresearch/EdgeTAM (needs timm) or yformer/EfficientTAM; with it the official code takes part itself.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from engine_speed import PRIMED_FRAMES, SIZE_HW, frame_at, primed_engine
from this_machine import described

import vidseg

OFFICIAL_GFLOP = {"edgetam": 4.2 * 95, "efficienttam-ti": 10.3 * 95}
"""CPU seconds a frame of the official code in float32, times the rate of a core of the machine they were
measured on."""
STAGES = ("encode", "attend", "decode", "remember")
OFFICIAL_STAGES = (
    "forward_image",
    "_prepare_memory_conditioned_features",
    "_forward_sam_heads",
    "_encode_new_memory",
)
OFFICIAL_CONFIGS = {
    "edgetam": ("sam2/configs", "edgetam"),
    **{
        f"efficienttam-{size}{suffix}": (
            "efficient_track_anything/configs/efficienttam",
            f"efficienttam_{size}{suffix.replace('-', '_')}",
        )
        for size in ("ti", "s")
        for suffix in ("", "-1", "-2")
    },
}
IMAGE_SIZE = 1024
MATRIX_SIZE = 2048

Seconds = dict[str, float]
Step = Callable[[int], Seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trackers", nargs="+", default=["edgetam", "efficienttam-ti", "sam2.1-hiera-tiny"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--official", nargs="*", default=[], metavar="NAME=CHECKOUT")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    subjects: dict[tuple[str, str], Callable[[argparse.Namespace], Step]] = {
        ("matrix product", dtype): partial(matrix_product, dtype)
        for dtype in dict.fromkeys(["float32", *options.dtypes])
    }
    for name in options.trackers:
        for dtype in options.dtypes:
            subjects[name, dtype] = partial(ours, name, dtype)
    for pair in options.official:
        name, _, checkout = pair.partition("=")
        subjects[name, "official"] = partial(official, name, checkout)

    with processes(subjects, options) as lines:
        for repeat in range(options.repeats + 1):
            for line in lines.values():
                line.send(repeat)
                line.recv()
        for line in lines.values():
            line.send(None)
        report({subject: line.recv() for subject, line in lines.items()}, options.threads)


@contextlib.contextmanager
def processes(
    subjects: dict[tuple[str, str], Callable[[argparse.Namespace], Step]], options: argparse.Namespace
) -> Iterator[dict[tuple[str, str], Connection]]:
    context = get_context("spawn")
    lines, running = {}, []
    try:
        for subject, make in subjects.items():
            lines[subject], theirs = context.Pipe()
            running.append(context.Process(target=serve, args=(theirs, make, options), daemon=True))
            running[-1].start()
            theirs.close()
            lines[subject].recv()  # wait until it is ready: subjects load one at a time
        yield lines
    finally:
        for process in running:
            process.terminate()
            process.join()


def serve(line: Connection, make: Callable[[argparse.Namespace], Step], options: argparse.Namespace) -> None:
    """Step when asked to; at None, send the median seconds of each stage. The first step warms up."""
    torch.set_num_threads(options.threads)
    step = make(options)
    line.send(None)
    rows = []
    while (repeat := line.recv()) is not None:
        rows.append(step(PRIMED_FRAMES + repeat))
        line.send(None)
    line.send({name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]})


def matrix_product(dtype: str, options: argparse.Namespace) -> Step:
    matrix = torch.randn(MATRIX_SIZE, MATRIX_SIZE).to(getattr(torch, dtype))

    def step(index: int) -> Seconds:
        return fastest(lambda: matrix @ matrix)

    return step


def fastest(call: Callable[[], object]) -> Seconds:
    """CPU and wall seconds of the fastest of a few calls."""
    times = []
    for _ in range(4):
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        times.append({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall})
    return min(times, key=lambda row: row["wall"])


def ours(name: str, dtype: str, options: argparse.Namespace) -> Step:
    tracker = vidseg.load(name, allow_random_weights=True, dtype=dtype, device="cpu")
    session = primed_engine(tracker, 1, IMAGE_SIZE)
    spent = clocked(tracker.engine.model, STAGES)
    return partial(timed_step, spent, lambda index: session.step(frame_at(index, IMAGE_SIZE)))


def official(name: str, checkout: str, options: argparse.Namespace) -> Step:
    """The official model's own steps, as its video predictor calls them for one object."""
    model = official_model(Path(checkout), *OFFICIAL_CONFIGS[name])
    spent = clocked(model, OFFICIAL_STAGES)
    outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}

    @torch.inference_mode()
    def step(index: int, points: dict[str, torch.Tensor] | None = None) -> dict[str, Any]:
        image = torch.from_numpy(frame_at(index, IMAGE_SIZE).model_input)[None]
        _, features, positions, sizes = model._prepare_backbone_features(model.forward_image(image))
        out = model.track_step(
            index, points is not None, features, positions, sizes, points, None, outputs, num_frames=1000
        )
        out["maskmem_features"] = out["maskmem_features"].to(torch.bfloat16)
        torch.nn.functional.interpolate(out["pred_masks"], size=SIZE_HW, mode="bilinear")
        return out

    middle = torch.full((1, 1, 2), IMAGE_SIZE / 2)
    first = step(0, {"point_coords": middle, "point_labels": torch.ones(1, 1, dtype=torch.int32)})
    outputs["cond_frame_outputs"][0] = first
    outputs["non_cond_frame_outputs"].update(dict.fromkeys(range(1, PRIMED_FRAMES), first))
    return partial(timed_step, spent, step)


def official_model(checkout: Path, folder: str, config: str) -> Any:
    sys.path.insert(0, str(checkout))
    with contextlib.suppress(ImportError):  # EfficientTAM does not need it
        import timm.models

        timm.models.create_model = partial(without_download, timm.models.create_model)
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    loaded: Any = OmegaConf.load(checkout / folder / f"{config}.yaml")
    loaded.model.compile_image_encoder = False
    torch.manual_seed(0)
    return instantiate(loaded.model, _recursive_=True).eval()


def without_download(create: Callable[..., Any], name: str, pretrained: bool = False, **settings: Any) -> Any:
    return create(name, **settings)


def clocked(model: Any, stages: tuple[str, ...]) -> Seconds:
    """A dictionary in which CPU seconds of the stages add up, under our names of them."""
    spent = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        result = call(*args, **kwargs)
        spent[stage] += time.process_time() - began
        return result

    for stage, name in zip(STAGES, stages, strict=True):
        object.__setattr__(model, name, partial(timed, stage, getattr(model, name)))
    return spent


def timed_step(spent: Seconds, step: Callable[[int], object], index: int) -> Seconds:
    spent.update(dict.fromkeys(spent, 0.0))
    cpu, wall = time.process_time(), time.perf_counter()
    step(index)
    return {**spent, "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def report(medians: dict[tuple[str, str], Seconds], threads: int) -> None:
    print(f"{described(threads)}")
    gflop = 2 * MATRIX_SIZE**3 / 1e9
    products = {dtype: row for (name, dtype), row in medians.items() if name == "matrix product"}
    for dtype, row in products.items():
        wall, cpu = gflop / row["wall"], gflop / row["cpu"]
        print(f"{dtype} matrix product: {wall:.0f} GFLOP/s, {cpu:.0f} for each CPU second")
        del medians["matrix product", dtype]
    rate = gflop / products["float32"]["cpu"]
    print()
    print(f"{'CPU seconds a frame':<28}" + "".join(f"{name:>10}" for name in (*STAGES, "cpu", "wall")))
    for (name, kind), row in medians.items():
        line = "".join(f"{row[stage]:10.2f}" for stage in (*STAGES, "cpu", "wall"))
        print(f"{name + ' ' + kind:<28}{line}")
    print()
    for (name, kind), row in medians.items():
        comparisons = []
        there = medians.get((name, "official"))
        if there is not None and kind != "official":
            stages = ", ".join(f"{stage} {there[stage] / row[stage]:.2f}" for stage in STAGES)
            comparisons.append(f"{there['cpu'] / row['cpu']:.2f}x the official code in this run ({stages})")
        if name in OFFICIAL_GFLOP:
            ratio = OFFICIAL_GFLOP[name] / (row["cpu"] * rate)
            comparisons.append(f"{ratio:.2f}x its published figure by the matrix product")
        if comparisons:
            print(f"{name} {kind}: {'; '.join(comparisons)}")


if __name__ == "__main__":
    main()
