"""`vidseg compress --simulate-bits`: a model whose products are of few bits, and what that costs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from statistics import fmean

from vidseg.compression.arguments import box_of, parts_of
from vidseg.errors import InputError
from vidseg.pipeline.commands.tracker_arguments import options_of

TAKES = frozenset({"calibrator", "reconstruct"})
CALIBRATOR = "ptq4sam"


def add_arguments(parser: argparse.ArgumentParser, ways: argparse._MutuallyExclusiveGroup) -> None:
    ways.add_argument(
        "--simulate-bits",
        metavar="N",
        help="simulate a model of N bits, such as 6; W4A8: four of weights and eight of all else",
    )
    group = parser.add_argument_group("--simulate-bits")
    group.add_argument(
        "--calibrator",
        metavar="NAME",
        help=f"chooses how values are rounded: plain, pq-sam, ptq4sam, q-tiny-sam (default: {CALIBRATOR})",
    )
    group.add_argument(
        "--reconstruct",
        type=int,
        nargs="?",
        const=100,
        metavar="STEPS",
        help="have each block learn its rounding in so many steps after that (without a number: 100)",
    )


def run(args: argparse.Namespace) -> int:
    from vidseg.compression.low_bits.compress import compress_low_bits

    if args.reconstruct == 0:
        raise InputError("--reconstruct 0", hint="give at least 1 step, or leave it out")
    report = compress_low_bits(
        options_of(args),
        args.calibrate,
        args.out,
        bits=args.simulate_bits,
        calibrator=args.calibrator or CALIBRATOR,
        parts=parts_of(args),
        box=box_of(args),
        frames=args.frames,
        steps=args.reconstruct or 0,
    )
    if args.json:
        print(json.dumps(asdict(report), indent=2))
        return 0
    print(f"{report.bits} by {report.calibrator}: {report.layers} layers, {report.attentions} attentions")
    print(f"signs of keys folded in {report.folded} of them")
    if report.blocks:
        before = fmean(block.calibrated for block in report.blocks.values())
        after = fmean(min(block.calibrated, block.learned) for block in report.blocks.values())
        print(f"mean error of {len(report.blocks)} blocks where they were held out: {before:.4f}")
        print(f"after {report.steps} steps: {after:.4f}")
    print(f"features of {report.pictures} pictures: lowest cosine {report.cosine:.5f} with float32")
    print(f"masks: mean IoU {report.mask_iou:.4f} with float32")
    print(f"vidseg segment PICTURES --box X0,Y0,X1,Y1 --tracker {args.out / 'tracker.yaml'}")
    return 0
