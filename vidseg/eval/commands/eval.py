"""`vidseg eval`: track a data set by its benchmark's protocol and score it; `vidseg eval compare A B`.

`coco-prompts` and `coco-detections` evaluate image models on pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidseg.errors import InputError
from vidseg.eval.datasets import DATASETS
from vidseg.eval.images.names import EVALUATIONS
from vidseg.pipeline.commands.tracker_arguments import add_tracker_arguments, options_of
from vidseg.pipeline.commands.worker_arguments import add_worker_arguments, check_worker_arguments

if TYPE_CHECKING:
    from vidseg.eval.tracking import SequenceOutcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help=f"{', '.join(DATASETS.known)} (any with JPEGImages and Annotations); "
        f"pictures: {', '.join(EVALUATIONS)}; compare: two evaluations side by side",
    )
    parser.add_argument(
        "evaluations", metavar="A B", nargs="*", help="with compare: two folders of evaluations"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results")
    add_tracker_arguments(parser)
    parser.add_argument(
        "--prompt",
        default="mask",
        choices=["mask", "box"],
        help="an object's first mask, or the box around it",
    )
    parser.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="davis2017-unsupervised: frames between two looks (default: 15)",
    )
    parser.add_argument(
        "--discover-with",
        metavar="NAME",
        help="davis2017-unsupervised: the image model that finds objects (default: the tracker's own)",
    )
    parser.add_argument("--sequences", metavar="LIST", help="only these, separated by commas")
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="JSON of COCO or LVIS (default: ROOT/annotations/instances_val2017.json)",
    )
    pictures.add_argument(
        "--prompts", metavar="LIST", help="coco-prompts: box, centre, random (default: all of them)"
    )
    pictures.add_argument(
        "--detections", type=Path, metavar="FILE", help="coco-detections: a detector's boxes, as COCO results"
    )
    pictures.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")
    parser.add_argument("--resume", action="store_true", help="go on with the evaluation in --out")
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="Ray workers (default: 0: this process, without Ray)",
    )
    add_worker_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    if args.dataset == "compare":
        return _compare(args)
    if args.evaluations:
        raise InputError(f"'{args.evaluations[0]}' is one argument too many", hint="vidseg eval --help")
    for name in ("root", "out"):
        if getattr(args, name) is None:
            raise InputError(f"--{name} is missing", hint=f"vidseg eval {args.dataset} --root DIR --out DIR")
    if args.dataset in EVALUATIONS:
        return _pictures(args)
    for name in ("annotations", "detections", "prompts", "limit"):
        if getattr(args, name) is not None:
            raise InputError(
                f"--{name} is for pictures, not for '{args.dataset}'",
                hint=f"leave it out, or evaluate {' or '.join(EVALUATIONS)}",
            )
    if args.workers < 0:
        raise InputError(f"--workers {args.workers}", hint="a number of Ray workers, or 0 for this process")
    if args.ray_address is not None and args.workers == 0:
        raise InputError("--ray-address without workers", hint="say how many: --workers N")
    check_worker_arguments(args)
    from vidseg.eval.evaluate import EvaluationOptions, evaluate
    from vidseg.eval.tracking import Workers
    from vidseg.exit_codes import EXIT_SOME_FAILED

    count = 0

    def tell(outcome: SequenceOutcome) -> None:
        nonlocal count
        count += 1
        if outcome.error or not args.quiet:
            how = outcome.error or f"{outcome.frames} frames, {outcome.frames_per_second:.1f} frames/s"
            print(f"{count:4} {outcome.name}: {outcome.status}, {how}", file=sys.stderr)

    results = evaluate(
        args.dataset,
        args.root,
        args.out,
        options_of(args),
        EvaluationOptions(
            prompt=args.prompt,
            discover={
                name: getattr(args, name)
                for name in ("every", "discover_with")
                if getattr(args, name) is not None
            },
            sequences=None
            if args.sequences is None
            else [name.strip() for name in args.sequences.split(",")],
            workers=Workers(count=args.workers, address=args.ray_address, cpus=args.cpus, gpus=args.gpus),
            resume=args.resume,
        ),
        on_outcome=tell,
    )
    if args.json:
        print(json.dumps(results, indent=2))
    elif not args.quiet:
        print(_as_text(results, args.out))
    return 0 if results["status"] == "done" else EXIT_SOME_FAILED


def _pictures(args: argparse.Namespace) -> int:
    from vidseg.eval.images.evaluate import ImageEvaluationOptions, evaluate_images
    from vidseg.exit_codes import EXIT_SOME_FAILED

    def tell(line: dict[str, Any]) -> None:
        if line["error"] is not None:
            print(line["error"], file=sys.stderr)

    options = ImageEvaluationOptions(
        annotations=args.annotations,
        detections=args.detections,
        limit=args.limit,
        resume=args.resume,
    )
    if args.prompts is not None:
        options = replace(options, prompts=tuple(args.prompts.split(",")))
    results = evaluate_images(args.dataset, args.root, args.out, options_of(args), options, on_picture=tell)
    if args.json:
        print(json.dumps(results, indent=2))
    elif not args.quiet:
        print(_pictures_as_text(results, args.out))
    return 0 if results["status"] == "done" else EXIT_SOME_FAILED


def _pictures_as_text(results: dict[str, Any], out: Path) -> str:
    count = results["pictures"]
    lines = [f"{results['dataset']}: {results['card']['tracker']}, {count['done']} pictures done"]
    if count["failed"]:
        lines[0] += f", {count['failed']} failed"
    if results["card"]["random_weights"]:
        lines.append("random weights: the numbers mean nothing")
    for key, value in results["global"].items():
        published = results["published"].get(key)
        beside = "" if published is None else f"   (published: {published:.3f})"
        lines.append(f"  {key:<20}{'-' if value is None or value < 0 else f'{value:.4f}'}{beside}")
    lines += [f"  {key + ' ms':<20}{value:.1f}" for key, value in results["milliseconds"].items()]
    return "\n".join([*lines, f"  {out / 'results.json'}"])


def _compare(args: argparse.Namespace) -> int:
    from vidseg.eval.compare import as_text, compare

    if len(args.evaluations) != 2:
        raise InputError("compare takes two evaluations", hint="vidseg eval compare runs/a runs/b")
    comparison = compare(*(Path(path) for path in args.evaluations))
    print(json.dumps(comparison, indent=2) if args.json else as_text(comparison))
    return 0


def _as_text(results: dict[str, Any], out: Path) -> str:
    from vidseg.eval.protocols import build_protocol

    failed = [name for name, of in results["sequences"].items() if of["status"] == "failed"]
    count = len(results["sequences"])
    lines = [f"{results['dataset']}: {count - len(failed)} of {count} sequences done"]
    if results["global"] is not None:
        score = "-" if results["score"] is None else f"{results['score']:.2f}"
        lines.append(f"{build_protocol(results['protocol']).headline.key} {score}")
        lines += [f"  {key:<20}{'-' if v is None else f'{v:.4f}'}" for key, v in results["global"].items()]
    elif len(failed) < count:
        lines.append("not scored: the ground truth is not in the data set, or not all of it")
    lines += [f"note: {note}" for note in results["card"]["notes"]]
    if results["speed"]["frames_per_second"]:
        lines.append(f"{results['speed']['frames_per_second']:.1f} frames/s, reading and writing included")
    lines += [f"  {out / name}" for name in ("results.json", "results.csv", "report.html")]
    if results["submission"] is not None:
        server = results["submission_server"]
        lines.append(f"  {out / results['submission']}" + ("" if server is None else f", for {server}"))
    return "\n".join(lines)
