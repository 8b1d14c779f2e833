"""`vidseg bench`: speed, memory and size of trackers, side by side."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidseg.errors import InputError, VidsegError
from vidseg.eval.turns import Failure
from vidseg.exit_codes import EXIT_SOME_FAILED
from vidseg.out_of_memory import explaining
from vidseg.pipeline.commands.tracker_arguments import add_tracker_arguments, options_of
from vidseg.trackers.configs import read_config

if TYPE_CHECKING:
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
    from vidseg.eval.bench_report import as_plot, as_table, as_text
    from vidseg.pipeline.atomic import check_file, write_bytes

    for name in ("frames", "warm_up"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}", hint="give 1 or more")
    if args.points_per_side is not None:
        if args.table != "4":
            raise InputError("--points-per-side is for --table 4", hint="leave it out, or give --table 4")
        if args.points_per_side < 4:
            raise InputError(f"--points-per-side {args.points_per_side}", hint="give 4 or more")
    if args.plot is not None:
        if args.plot.suffix != ".svg":
            raise InputError(f"--plot '{args.plot}'", hint="give a name that ends in .svg")
        check_file(args.plot, "--plot")
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads {args.threads}", hint="give 1 or more")
    choices = _choices(args)
    names = _check_names(choices, args.reference)
    if args.table in PICTURE_TABLES:
        return _pictures(choices, args)
    options = BenchOptions(
        frames=args.frames,
        warm_up=args.warm_up,
        objects=args.objects,
        size_hw=_size_hw(args.size or "1280x720"),
        threads=args.threads,
    )
    scores = _scores_of(args.results, names)
    if args.memory:
        return _memory(choices, args)
    failures = _Failures()
    rows = bench(choices, options, on_failure=failures.tell)
    if args.results is not None:  # the made video's J&F cannot stand beside a data set's
        for row in rows:
            row.score = scores.get(row.name)
    document = as_document(rows, options, args.reference)
    _warn_without_reference(args.reference, [of["eer"] for of in document["efficiency"]])
    if args.json:
        failures.print_json(document)
    else:
        print(as_table(document["efficiency"]) if args.table else as_text(rows))
    if args.plot is not None:
        write_bytes(args.plot, as_plot(rows).encode())
    return failures.exit_code


class _Failures:
    """The trackers that could not be measured; the figures of the others stand."""

    def __init__(self) -> None:
        self._known: list[Failure] = []

    def tell(self, failure: Failure) -> None:
        self._known.append(failure)
        error = failure.error if failure.tracker in str(failure.error) else failure.error.at(failure.tracker)
        print(f"vidseg: {error}", file=sys.stderr)

    @property
    def exit_code(self) -> int:
        return EXIT_SOME_FAILED if self._known else 0

    def print_json(self, document: dict[str, Any]) -> None:
        failed = [{"tracker": of.tracker, "error": of.error.message} for of in self._known]
        print(json.dumps({**document, "failed": failed}, indent=2))


def _warn_without_reference(reference: str | None, eers: Sequence[float | None]) -> None:
    if reference is not None and all(eer is None for eer in eers):
        print(
            f"vidseg: warning: there is no EER: '{reference}' was not measured, or has no weights",
            file=sys.stderr,
        )


def _choices(args: argparse.Namespace) -> list[TrackerOptions]:
    asked = options_of(args)
    choices = [asked.model_copy(update={"tracker": name.strip()}) for name in asked.tracker.split(",")]
    if asked.weights is not None and len(choices) > 1:
        raise InputError("--weights for several trackers", hint="give it with one tracker")
    return choices


def _check_names(choices: Sequence[TrackerOptions], reference: str | None) -> list[str]:
    """The trackers' names. They must exist, and the reference be one of them: measuring takes minutes.

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
    return names


def _pictures(choices: Sequence[TrackerOptions], args: argparse.Namespace) -> int:
    from vidseg.eval.bench_images import ImageBenchOptions, as_document, bench_images, size_table, time_table

    options = ImageBenchOptions(
        pictures=args.frames, size_hw=_size_hw(args.size or "640x480"), threads=args.threads
    )
    if args.table == "4":
        return _everything(choices, options, args)
    failures = _Failures()
    rows = bench_images(choices, options, on_failure=failures.tell)
    document = as_document(rows, options, args.reference)
    _warn_without_reference(args.reference, [of["eer"] for of in document["models"]])
    if args.json:
        failures.print_json(document)
    else:
        print(size_table(rows, args.reference) if args.table == "2" else time_table(rows))
    return failures.exit_code


def _everything(
    choices: Sequence[TrackerOptions], options: ImageBenchOptions, args: argparse.Namespace
) -> int:
    from vidseg.eval.bench_everything import as_document, bench_everything, everything_table

    points = POINTS_PER_SIDE if args.points_per_side is None else args.points_per_side
    failures = _Failures()
    rows = bench_everything(choices, options, points_per_side=points, on_failure=failures.tell)
    if args.json:
        failures.print_json(as_document(rows, options, points))
    else:
        print(everything_table(rows))
    return failures.exit_code


def _memory(choices: Sequence[TrackerOptions], args: argparse.Namespace) -> int:
    from vidseg.eval.bench_memory import as_text, bench_memory
    from vidseg.pipeline.machine import machine, versions

    rows, failures = [], _Failures()
    for choice in choices:
        try:
            with explaining():
                rows.append(bench_memory(choice, threads=args.threads))
        except VidsegError as error:
            if not rows and choice is choices[-1]:
                raise  # where every tracker fails, this is how the command ends, as `in_turns` does
            failures.tell(Failure(choice.tracker, error))
    if args.json:
        facts = {"machine": machine(), "versions": versions(), "trackers": [asdict(row) for row in rows]}
        failures.print_json(facts)
    else:
        print(as_text(rows))
    return failures.exit_code


def _scores_of(evaluations: str | None, trackers: Sequence[str]) -> dict[str, float]:
    """Tracker -> its score in an evaluation.

    Raises:
        InputError: the evaluations cannot stand side by side, or are not of the measured trackers.
    """
    from vidseg.eval.compare import read_results

    paths = [path for path in (evaluations or "").split(",") if path]
    results = {path: read_results(Path(path)) for path in paths}
    scores: dict[str, float] = {}
    for path, of in results.items():
        first_path, first = next(iter(results.items()))
        for what in ("dataset", "protocol"):
            if of[what] != first[what]:
                raise InputError(
                    f"--results: '{first_path}' is of the {what} {first[what]}, '{path}' of {of[what]}"
                )
        if set(of["objects"]) != set(first["objects"]):
            raise InputError(
                f"--results: '{first_path}' and '{path}' are not of the same sequences",
                hint="finish both with --resume, or evaluate the same --sequences",
            )
        tracker = of["card"]["tracker"]
        if tracker not in trackers or tracker in scores:
            why = "has one already" if tracker in scores else "is not among the measured trackers"
            raise InputError(
                f"--results '{path}': its tracker '{tracker}' {why}",
                hint=f"give one evaluation for each of: {', '.join(trackers)}",
            )
        if of["score"] is not None:
            scores[tracker] = of["score"]
    return scores


def _size_hw(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if match is None or min(int(match[1]), int(match[2])) < 64:
        raise InputError(
            f"--size '{text}'", hint="give width x height of 64 to 9999 pixels each, such as 1280x720"
        )
    return int(match[2]), int(match[1])
