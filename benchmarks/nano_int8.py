"""How long the learned parts of vidseg-nano take by themselves: in torch, in onnxruntime, and in eight bits.

    python benchmarks/nano_int8.py --calibrate CLIP [--box X0,Y0,X1,Y1] [--rounds 40]

The tracker is exported in float32, and its image encoder and decoder in eight bits, calibrated by the clip.
Each part is given what it is given on the last of four frames of the made video, with one object, and runs in
turns with the others: medians of CPU milliseconds of one thread, as other programs disturb them less than the
clock. What a part takes as `vidseg-nano` ships is that in torch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from this_machine import described

from vidseg.compression.arguments import box_of
from vidseg.export.int8.compress import compress_int8
from vidseg.export.write import export
from vidseg.pipeline.made_video import MadeVideo
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker

PARTS = ("image_encoder", "decoder")
SIZE_HW, FRAMES = (480, 854), 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calibrate", type=Path, required=True, help="a clip")
    parser.add_argument("--box", help="its object on the first frame; without it, the middle")
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    asked = TrackerOptions.of("vidseg-nano", device="cpu", dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        float32, int8 = Path(folder) / "float32", Path(folder) / "int8"
        export(asked, float32)
        compress_int8(asked, args.calibrate, int8, parts=PARTS, box=box_of(args))
        names = {"torch": asked} | {
            each.name: TrackerOptions.of(each / "tracker.yaml") for each in (float32, int8)
        }
        calls = {name: calls_of(build_tracker(options)) for name, options in names.items()}
        print(f"{described(threads=1)}, CPU milliseconds\n")
        took = timed(calls, args.rounds)
    print(f"{'part':<14}" + "".join(f"{name:>9}" for name in calls) + "   int8 of torch, of float32")
    for part in (*PARTS, "both"):
        ms = [sum(took[name, each] for each in (PARTS if part == "both" else (part,))) for name in calls]
        shares = f"{ms[2] / ms[0]:10.2f} {ms[2] / ms[1]:10.2f}"
        print(f"{part:<14}" + "".join(f"{value:9.2f}" for value in ms) + shares)


def calls_of(tracker: Any) -> dict[str, Callable[[], Any]]:
    """What each part computes on the last frame of the made video."""
    model, video = tracker.engine.model, MadeVideo(num_frames=FRAMES, size_hw=SIZE_HW)
    encode, decoder = model.encode_batch, model.decoder
    given: dict[str, Any] = {}

    def encoded(images: Any) -> Any:
        given["image_encoder"] = images.clone()
        return encode(images)

    model.encode_batch = encoded
    hook = decoder.register_forward_pre_hook(lambda _, maps: given.update(decoder=maps))
    session = tracker.start(num_frames=FRAMES)
    session.prompt(1, box=video.prompts()["objects"][0]["prompts"][0]["box"])
    for frame, _ in video:
        session.step(frame)
    hook.remove()
    return {
        "image_encoder": partial(encode, given["image_encoder"]),
        "decoder": partial(decoder, *given["decoder"]),
    }


@torch.inference_mode()
def timed(calls: dict[str, dict[str, Callable[[], Any]]], rounds: int) -> dict[tuple[str, str], float]:
    """The median milliseconds of each variant's parts."""
    took: dict[tuple[str, str], list[float]] = {(name, part): [] for name in calls for part in PARTS}
    for _ in range(rounds):
        for name, part in took:
            began = time.process_time()
            calls[name][part]()
            took[name, part].append(1000 * (time.process_time() - began))
    return {key: statistics.median(values) for key, values in took.items()}


if __name__ == "__main__":
    main()
