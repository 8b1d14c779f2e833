"""What the ways of compressing cost and bring, in one table: python benchmarks/compress.py --root DAVIS

    python benchmarks/compress.py --root DAVIS --calibrate CLIP [--box X0,Y0,X1,Y1] --work FOLDER
        [--models vidseg-nano sam2.1_hiera_t_G edgetam_G efficienttam_ti_G mobile_sam] [--image-size 512]

Each variant of a model works in a process of its own, of one thread; all begin each frame together.
Columns: size of the weights or graphs; median CPU milliseconds a frame; the peak of the process's memory,
PyTorch and all; mean IoU with the masks of the model in float32; J.

`vidseg-nano` has weights: it follows the sequences of DAVIS 2016 from their first masks, as davis.py does,
and is calibrated by another clip. Others (names of goldens) have random weights, follow a golden's object on
its few frames, at --image-size, are calibrated by these very frames, and have no J. Few bits are simulated,
so that neither time nor memory of theirs is told; their size is that of the codes and of what is left in
float32. What was made is kept under --work, and made again only if it is not there.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from davis import frames_of, truths_of
from PIL import Image
from this_machine import described

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import vidseg
from support.goldens import PromptCall, load_golden, seeded_state, video_frames
from support.image_goldens import load_image_golden
from vidseg.compression.low_bits.compress import compress_low_bits
from vidseg.eval.metrics import region_j
from vidseg.export.int8.compress import compress_int8
from vidseg.export.write import export
from vidseg.masks import iou
from vidseg.pipeline.machine import peak_memory_bytes
from vidseg.trackers.low_bits_settings import Bits
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker

MODELS = ("vidseg-nano", "sam2.1_hiera_t_G", "edgetam_G", "efficienttam_ti_G", "mobile_sam")
NANO_PARTS = {
    "int8": ("image_encoder",),
    "int8-decoder": ("image_encoder", "decoder"),
    "int8-all": ("image_encoder", "decoder", "prompt_decoder"),
}
CALIBRATION = 16
"""How many frames of the clip calibrate."""
WAYS = (("W8A8", 0), ("W6A6", 0), ("W4A4", 0))
WARM = 2
"""Frames of a sequence that are not timed."""


@dataclass
class Variant:
    """One row of the table."""

    label: str
    options: dict[str, Any]
    """Arguments of `TrackerOptions.of`."""
    golden: str | None = None
    """The golden whose weights the variant loads; None: its own."""
    megabytes: float = 0.0
    is_simulated: bool = False
    ms: list[float] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    js: list[float] = field(default_factory=list)
    """One for each sequence."""


@dataclass(frozen=True)
class Clip:
    """Frames, the prompt of object 1 on the first, and the true masks if they are known."""

    frames: list[Any]
    prompt: dict[str, Any]
    truths: list[Any] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, help="the DAVIS folder, for vidseg-nano")
    parser.add_argument("--calibrate", type=Path, help="a clip, for vidseg-nano")
    parser.add_argument("--box", default=None, help="its object")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is made")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=8, help="of a golden")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{described(threads=1)}, {time.strftime('%B %Y')}\n")
    print("| model | variant | MB | CPU ms a frame | peak MiB | IoU | J |\n|---|---|---|---|---|---|---|")
    for name in args.models:
        if name == "vidseg-nano":
            variants, clips = nano_variants(args), davis_clips(args.root)
        else:
            clips = [golden_clip(name, args.frames)]
            variants = golden_variants(name, args, clips[0])
        measure(name, variants, clips)


def davis_clips(root: Path) -> Iterator[Clip]:
    for sequence in (root / "ImageSets/2016/val.txt").read_text().split():
        truths = truths_of(root / "Annotations/480p" / sequence)
        frames = [frame.image for frame in frames_of(root / "JPEGImages/480p" / sequence)]
        yield Clip(frames, {"mask": truths[0]}, truths)


def golden_clip(name: str, count: int) -> Clip:
    """The frames of a golden, forward and backward.

    That of an image model has a single picture, and takes frames and box of another.
    """
    golden = load_golden(name if name[-1].isupper() else "edgetam_G")
    prompts = [step for step in golden.steps if isinstance(step, PromptCall) and step.frame_idx == 0]
    images = list(video_frames(golden))
    there_and_back = itertools.cycle(images + images[-2:0:-1])
    return Clip(list(itertools.islice(there_and_back, count)), dict(prompts[0].prompt), None)


def nano_variants(args: argparse.Namespace) -> list[Variant]:
    box = None if args.box is None else tuple(float(number) for number in args.box.split(","))
    asked = TrackerOptions.of("vidseg-nano")
    tracker = build_tracker(asked)
    print(f"<!-- vidseg-nano: weights {tracker.describe()['weights_sha256'][:12]} -->")
    variants = common_variants("vidseg-nano", {"tracker": "vidseg-nano"}, None, asked, args, tracker)
    clip: dict[str, Any] = {"box": box, "frames": CALIBRATION}
    for label, parts in NANO_PARTS.items():
        out = args.work / "vidseg-nano" / label
        if not out.exists():
            compress_int8(asked, args.calibrate, out, parts=parts, **clip)
        variants.append(of_folder(f"`--int8 --parts {','.join(parts)}`", out))
    # Of random weights what blocks learn would say little, and take minutes.
    ways = (*WAYS, ("W4A4", 100))
    return variants + few_bits(
        "vidseg-nano", asked, args.calibrate, args.work, ("image_encoder",), clip, ways=ways
    )


def golden_variants(name: str, args: argparse.Namespace, clip: Clip) -> list[Variant]:
    tracker, state = golden_weights(name)
    asked = TrackerOptions.of(tracker, weights=state, image_size=args.image_size)
    loaded = {"tracker": tracker, "image_size": args.image_size}
    variants = common_variants(tracker, loaded, name, asked, args, build_tracker(asked))
    is_tracker = name[-1].isupper()
    if is_tracker:
        variants.append(
            Variant("`--fast`", {**loaded, "fast": True, "device": "cpu"}, name, variants[0].megabytes)
        )
    pictures = args.work / tracker / "pictures"
    if not pictures.exists():
        pictures.mkdir(parents=True)
        for index, image in enumerate(clip.frames):
            Image.fromarray(image).save(pictures / f"{index:05d}.png")
    given = {"box": clip.prompt.get("box"), "frames": len(clip.frames)}
    out = args.work / tracker / "int8"
    if not out.exists():
        compress_int8(asked, pictures, out, parts=("image_encoder",), **given)
    variants.append(of_folder("`--int8`, encoder", out))
    if not is_tracker:
        variants += few_bits(tracker, asked, pictures, args.work, ("image_encoder", "mask_decoder"), given)
    return variants


def common_variants(
    name: str,
    loaded: dict[str, Any],
    golden: str | None,
    asked: TrackerOptions,
    args: argparse.Namespace,
    tracker: Any,
) -> list[Variant]:
    """The model in PyTorch and onnxruntime, whole and in half."""
    parameters = tracker.describe()["parameters"]
    variants = [
        Variant("float32", {**loaded, "dtype": "float32", "device": "cpu"}, golden, 4 * parameters / 1e6),
        Variant("bfloat16", {**loaded, "dtype": "bfloat16", "device": "cpu"}, golden, 2 * parameters / 1e6),
    ]
    for dtype in ("float32", "float16"):
        out = args.work / name / f"onnx-{dtype}"
        if not out.exists():
            export(asked, out, dtype=dtype)  # type: ignore[arg-type]
        variants.append(of_folder(f"ONNX, {dtype}", out))
    return variants


def few_bits(
    name: str,
    asked: TrackerOptions,
    source: Path,
    work: Path,
    parts: Sequence[str],
    clip: dict[str, Any],
    *,
    ways: Sequence[tuple[str, int]] = WAYS,
) -> list[Variant]:
    """Variants of few bits.

    Args:
        ways: bits, and how many steps each block learns.
    """
    variants = []
    for bits, steps in ways:
        out = work / name / (f"{bits}-learned" if steps else bits)
        if not out.exists():
            compress_low_bits(asked, source, out, bits=bits, parts=parts, steps=steps, **clip)
        label = f"`--simulate-bits {bits}{' --reconstruct' if steps else ''}`, simulated"
        variant = Variant(label, {"tracker": str(out / "tracker.yaml"), "device": "cpu"}, is_simulated=True)
        tracker = build_tracker(TrackerOptions.of(out / "tracker.yaml"))
        model = tracker.engine.model if hasattr(tracker, "engine") else tracker.model  # type: ignore[attr-defined]
        all_bits = 32 * tracker.describe()["parameters"]
        rounded = [module.layer.weight.numel() for module in model.modules() if hasattr(module, "layer")]
        variant.megabytes = (all_bits - (32 - Bits.parse(bits).weights) * sum(rounded)) / 8e6
        variants.append(variant)
    return variants


def of_folder(label: str, folder: Path) -> Variant:
    size = sum(path.stat().st_size for path in folder.glob("*.onnx"))
    return Variant(label, {"tracker": str(folder / "tracker.yaml")}, megabytes=size / 1e6)


def golden_weights(name: str) -> tuple[str, dict[str, Any]]:
    """The tracker or image model of a golden, and its weights."""
    if name[-1].isupper():
        golden = load_golden(name)
        return golden.tracker, seeded_state(golden)
    return name.replace("_", "-"), load_image_golden(name).state()


def measure(name: str, variants: Sequence[Variant], clips: Any) -> None:
    """Follow the clips with all variants, the first of which is the original, and print rows."""
    context = multiprocessing.get_context("spawn")
    workers, pipes = [], []
    for variant in variants:
        ours, theirs = context.Pipe()
        worker = context.Process(target=work, args=(theirs, variant.options, variant.golden), daemon=True)
        worker.start()
        workers.append(worker)
        pipes.append(ours)
    for clip in clips:
        scores: list[list[float]] = [[] for _ in variants]
        for pipe in pipes:
            pipe.send(("start", len(clip.frames), clip.prompt))
        for index, image in enumerate(clip.frames):
            original = None
            for pipe in pipes:
                pipe.send(("step", index, image))
            for variant, pipe, js in zip(variants, pipes, scores, strict=True):
                ms, packed = pipe.recv()
                mask = np.unpackbits(packed, count=image[..., 0].size).reshape(image.shape[:2]).astype(bool)
                original = mask if original is None else original
                if index >= WARM:
                    variant.ms.append(ms)
                if (mask | original).any():
                    variant.ious.append(iou(mask, original))
                if clip.truths is not None and 0 < index < len(clip.frames) - 1:
                    js.append(region_j(mask, clip.truths[index]))
        for variant, js in zip(variants, scores, strict=True):
            variant.js += [float(np.mean(js))] if js else []
    for variant, pipe, worker in zip(variants, pipes, workers, strict=True):
        pipe.send(("end",))
        peak = pipe.recv()
        worker.join()
        cost = ["", ""] if variant.is_simulated else [f"{statistics.median(variant.ms):.0f}", f"{peak:.0f}"]
        cells = [name, variant.label, f"{variant.megabytes:.1f}", *cost, f"{np.mean(variant.ious):.3f}"]
        cells += [f"{np.mean(variant.js):.3f}" if variant.js else ""]
        print(f"| {' | '.join(cells)} |", flush=True)


def work(pipe: Connection, options: dict[str, Any], golden: str | None) -> None:
    """Follow what the pipe sends, in a process of one thread; answer with CPU milliseconds and packed masks,
    and at the end with the peak of memory in MiB."""
    torch.set_num_threads(1)
    weights = {} if golden is None else {"weights": golden_weights(golden)[1]}
    tracker = build_tracker(TrackerOptions.of(**options, **weights))
    session: Any = None
    while (said := pipe.recv())[0] != "end":
        if said[0] == "start":
            session = tracker.start(num_frames=said[1])
            session.prompt(1, **said[2])
            continue
        began = time.process_time()
        mask = session.step(vidseg.Frame(said[1], said[1] / 24, said[2])).masks[0]
        pipe.send((1000 * (time.process_time() - began), np.packbits(mask)))
    pipe.send(peak_memory_bytes()["host"] / 2**20)


if __name__ == "__main__":
    main()
