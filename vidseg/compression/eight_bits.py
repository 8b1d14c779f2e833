"""`vidseg compress --int8`: a model in int8 by a calibration video, and what that brings and costs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from vidseg.compression.arguments import box_of, parts_of
from vidseg.pipeline.commands.tracker_arguments import options_of

TAKES: frozenset[str] = frozenset()


def add_arguments(parser: argparse.ArgumentParser, ways: argparse._MutuallyExclusiveGroup) -> None:
    ways.add_argument("--int8", action="store_true", default=None, help="quantise to eight bits")


def run(args: argparse.Namespace) -> int:
    from vidseg.export.int8.compress import compress_int8

    report = compress_int8(
        options_of(args),
        args.calibrate,
        args.out,
        parts=parts_of(args),
        box=box_of(args),
        frames=args.frames,
    )
    if args.json:
        print(json.dumps(asdict(report), indent=2))
        return 0
    print(f"{'part':<18}{'MB':>8}{'int8':>8}{'CPU ms':>10}{'int8':>8}{'cosine':>9}")
    for name, part in report.parts.items():
        print(
            f"{name:<18}{part.bytes_before / 1e6:8.1f}{part.bytes_after / 1e6:8.1f}"
            f"{part.cpu_ms_before:10.1f}{part.cpu_ms_after:8.1f}{part.cosine:9.5f}"
        )
    print(f"masks of {report.frames} frames: mean IoU {report.mask_iou:.4f} with float32")
    print(f"vidseg track VIDEO --prompt FILE --tracker {args.out / 'tracker.yaml'}")
    return 0
