"""`vidseg bench`: speed, memory and size of trackers, side by side."""

from __future__ import annotations

import argparse
import html
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidseg.errors import InputError
from vidseg.pipeline.commands.tracker_arguments import add_tracker_arguments, options_of
from vidseg.trackers.configs import read_config

if TYPE_CHECKING:
    from vidseg.eval.bench import Measured
    from vidseg.eval.bench_images import ImageBenchOptions
    from vidseg.trackers.options import TrackerOptions


PICTURE_TABLES = ("2", "3", "4")
POINTS_PER_SIDE = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_tracker_arguments(parser, title="trackers", metavar="LIST")
    parser.add_argument("--frames", type=int, default=24, metavar="N", help="measured frames (default: 24)")
    parser.add_argument("--warm-up", type=int, default=8, metavar="N", help="frames before them (default: 8)")
    parser.add_argument("--objects", type=int, default=1, metavar="N", help="followed at once (default: 1)")
    parser.add_argument(
        "--size", metavar="WxH", help="of the video (default: 1280x720), or of pictures (default: 640x480)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of each tracker")
    parser.add_argument(
        "--table",
        choices=["efficiency", *PICTURE_TABLES],
        help="efficiency: parameters, GFLOPs, EER, throughput; image models on pictures, as in the survey of "
        "SAM's efficient variants: 2 (size), 3 (times of prompts), 4 (times of finding everything)",
    )
    parser.add_argument(
        "--points-per-side",
        type=int,
        metavar="N",
        help=f"with --table 4: of the grid (default: {POINTS_PER_SIDE})",
    )
    parser.add_argument(
        "--reference", metavar="NAME", help="the EER's reference model (default: the first one)"
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        help="instead: size of the memory bank, and time of memory attention by objects and memory frames",
    )
    parser.add_argument(
        "--results", metavar="LIST", help="evaluations (`vidseg eval`) whose scores to take, by tracker"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="accuracy against speed")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    from vidseg.eval.bench import BenchOptions, as_document, bench
    from vidseg.pipeline.atomic import write_bytes

    for name in ("frames", "warm_up"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}", hint="give 1 or more")
    if args.points_per_side is not None:
        if args.table != "4":
            raise InputError("--points-per-side is for --table 4", hint="leave it out, or give --table 4")
        if args.points_per_side < 4:
            raise InputError(f"--points-per-side {args.points_per_side}", hint="give 4 or more")
    if args.plot is not None and args.plot.suffix != ".svg":
        raise InputError(f"--plot '{args.plot}'", hint="give a name that ends in .svg")
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads {args.threads}", hint="give 1 or more")
    choices = _choices(args)
    _check_names(choices, args.reference)
    if args.table in PICTURE_TABLES:
        return _pictures(choices, args)
    options = BenchOptions(
        frames=args.frames,
        warm_up=args.warm_up,
        objects=args.objects,
        size_hw=_size_hw(args.size or "1280x720"),
        threads=args.threads,
    )
    scores = _scores_of(args.results)
    if args.memory:
        return _memory(choices, args)
    rows = bench(choices, options)
    for row in rows:
        row.score = scores.get(row.name, row.score)
    document = as_document(rows, options, args.reference)
    if args.json:
        print(json.dumps(document, indent=2))
    else:
        print(as_table(document["efficiency"]) if args.table else as_text(rows))
    if args.plot is not None:
        write_bytes(args.plot, as_plot(rows).encode())
    return 0


def _choices(args: argparse.Namespace) -> list[TrackerOptions]:
    asked = options_of(args)
    choices = [asked.model_copy(update={"tracker": name.strip()}) for name in asked.tracker.split(",")]
    if asked.weights is not None and len(choices) > 1:
        raise InputError("--weights for several trackers", hint="give it with one tracker")
    return choices


def _check_names(choices: Sequence[TrackerOptions], reference: str | None) -> None:
    """Check that trackers exist and the reference is one of them: measuring takes minutes.

    Raises:
        ConfigError: there is no such tracker.
        InputError: the reference is not to be measured.
    """
    names = [read_config(choice.tracker)[0] for choice in choices]
    if reference is not None and reference not in names:
        raise InputError(
            f"--reference '{reference}' is not among the measured trackers",
            hint=f"give one of: {', '.join(names)}",
        )


def _pictures(choices: Sequence[TrackerOptions], args: argparse.Namespace) -> int:
    from vidseg.eval.bench_images import ImageBenchOptions, as_document, bench_images, size_table, time_table

    options = ImageBenchOptions(
        pictures=args.frames, size_hw=_size_hw(args.size or "640x480"), threads=args.threads
    )
    if args.table == "4":
        return _everything(choices, options, args)
    rows = bench_images(choices, options)
    if args.json:
        print(json.dumps(as_document(rows, options, args.reference), indent=2))
    else:
        print(size_table(rows, args.reference) if args.table == "2" else time_table(rows))
    return 0


def _everything(
    choices: Sequence[TrackerOptions], options: ImageBenchOptions, args: argparse.Namespace
) -> int:
    from vidseg.eval.bench_everything import as_document, bench_everything, everything_table

    points = POINTS_PER_SIDE if args.points_per_side is None else args.points_per_side
    rows = bench_everything(choices, options, points_per_side=points)
    if args.json:
        print(json.dumps(as_document(rows, options, points), indent=2))
    else:
        print(everything_table(rows))
    return 0


def _memory(choices: Sequence[TrackerOptions], args: argparse.Namespace) -> int:
    from vidseg.eval.bench_memory import as_text, bench_memory
    from vidseg.pipeline.machine import machine, versions

    rows = [bench_memory(choice, threads=args.threads) for choice in choices]
    if args.json:
        facts = {"machine": machine(), "versions": versions(), "trackers": [asdict(row) for row in rows]}
        print(json.dumps(facts, indent=2))
    else:
        print(as_text(rows))
    return 0


def as_text(rows: Sequence[Measured]) -> str:
    """The measurements as a table for terminals."""
    width = max(8, *(len(row.name) for row in rows))
    stages = list(dict.fromkeys(name for row in rows for name in row.ms_by_stage))
    head = f"{'tracker':<{width}} {'params M':>9} {'GFLOPs':>9} {'ms':>9}"
    head += "".join(f" {name:>9}" for name in stages)
    lines = [f"{head} {'frames/s':>9} {'peak MiB':>9} {'KiB/frame':>10} {'J&F':>6}"]
    for row in rows:
        line = f"{row.name:<{width}} {row.parameters / 1e6:9.1f} {_shown(row.gflops, 9)} {row.ms:9.1f}"
        line += "".join(f" {_shown(row.ms_by_stage.get(name), 9)}" for name in stages)
        peak = row.peak_memory_bytes.get("gpu", row.peak_memory_bytes.get("host", 0)) / 2**20
        growth = None if row.growth_bytes_per_frame is None else row.growth_bytes_per_frame / 1024
        lines.append(
            f"{line} {row.frames_per_second:9.2f} {peak:9.0f} {_shown(growth, 10)} {_shown(row.score, 6)}"
        )
    return "\n".join(
        [*lines, "", "stages in ms, medians; J&F on the made video unless --results gives another"]
    )


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """The efficiencies as a table for terminals."""
    width = max(8, *(len(row["name"]) for row in rows))
    lines = [f"{'tracker':<{width}} {'params M':>9} {'GFLOPs':>9} {'EER':>6} {'frames/s':>9} {'J&F':>6}"]
    lines += [
        f"{row['name']:<{width}} {row['parameters_m']:9.1f} {_shown(row['gflops'], 9)} "
        f"{_shown(row['eer'], 6, 2)} {row['frames_per_second']:9.2f} {_shown(row['score'], 6)}"
        for row in rows
    ]
    return "\n".join(lines)


def as_plot(rows: Sequence[Measured]) -> str:
    """The trackers as an SVG: frames a second to the right, on a logarithmic axis; the score upwards.

    Raises:
        InputError: no tracker has a score.
    """
    points = [(row.frames_per_second, row.score, row.name) for row in rows if row.score is not None]
    if not points:
        raise InputError("there are no scores to plot", hint="give --results, or weights that are not random")
    width, height, margin = 640, 400, 50
    speeds = [math.log10(speed) for speed, *_ in points]
    low, high = math.floor(min(speeds)), math.ceil(max(speeds) + 1e-9)
    bottom = 10 * math.floor(min(score for _, score, _ in points) / 10)
    top = max(10 * math.ceil(max(score for _, score, _ in points) / 10), bottom + 10)

    def at(log_speed: float, score: float) -> tuple[float, float]:
        x = margin + (width - 2 * margin) * (log_speed - low) / max(high - low, 1)
        return x, height - margin - (height - 2 * margin) * (score - bottom) / (top - bottom)

    parts = [f'<path d="M{margin} {margin}V{height - margin}H{width - margin}" fill="none" stroke="#888"/>']
    for power in range(low, high + 1):
        x, y = at(power, bottom)
        parts.append(f'<text x="{x:.0f}" y="{y + 20:.0f}" text-anchor="middle">{10.0**power:g}</text>')
    for mark in range(bottom, top + 1, 10):
        x, y = at(low, mark)
        parts.append(f'<text x="{x - 8:.0f}" y="{y + 4:.0f}" text-anchor="end">{mark}</text>')
    for log_speed, (_, score, name) in zip(speeds, points, strict=True):
        x, y = at(log_speed, score)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#2a6db0"/>')
        parts.append(f'<text x="{x + 8:.1f}" y="{y - 6:.1f}">{html.escape(name)}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">frames a second</text>')
    parts.append(f'<text x="12" y="{margin - 16}">J&amp;F</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12">{"".join(parts)}</svg>\n'
    )


def _scores_of(evaluations: str | None) -> dict[str, float]:
    from vidseg.eval.compare import read_results

    results = [read_results(Path(path)) for path in (evaluations or "").split(",") if path]
    return {of["card"]["tracker"]: of["score"] for of in results if of["score"] is not None}


def _size_hw(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if match is None or min(int(match[1]), int(match[2])) < 64:
        raise InputError(
            f"--size '{text}'", hint="give width x height of 64 to 9999 pixels each, such as 1280x720"
        )
    return int(match[2]), int(match[1])


def _shown(value: float | None, width: int, decimals: int = 1) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{decimals}f}"
