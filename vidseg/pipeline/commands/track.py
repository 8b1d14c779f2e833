"""`vidseg track`: follows objects through one source."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidseg.pipeline.commands.discovery_arguments import add_discovery_arguments, said_of_discovery
from vidseg.pipeline.commands.tracker_arguments import add_tracker_arguments, options_of
from vidseg.pipeline.formats import DEFAULT_FORMATS, FORMATS
from vidseg.pipeline.typed_prompts import add_prompt_arguments, combine
from vidseg.trackers.registry import build_tracker

if TYPE_CHECKING:
    from vidseg.pipeline.run import TrackSummary
    from vidseg.pipeline.writers import Writer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help="a video, a folder of frames, a camera number or a stream address"
    )
    add_prompt_arguments(parser)
    parser.add_argument("--out", metavar="DIR", help="output folder (default: runs/<name of the source>)")

    add_tracker_arguments(parser)
    tracking = parser.add_argument_group("tracking")
    tracking.add_argument(
        "--direction",
        default="forward",
        choices=["forward", "backward", "both"],
        help="from an object's first prompted frame on, from its last one back, or both ways from its first",
    )
    tracking.add_argument("--start", type=int, metavar="F", help="first frame (default: 0)")
    tracking.add_argument("--end", type=int, metavar="F", help="the frame to stop before (default: all)")

    add_discovery_arguments(parser)
    writing = parser.add_argument_group("writing")
    writing.add_argument(
        "--format",
        default=",".join(DEFAULT_FORMATS),
        metavar="LIST",
        help=f"what to write (default: {','.join(DEFAULT_FORMATS)}); of {', '.join(FORMATS.known)}",
    )
    writing.add_argument("--resume", action="store_true", help="go on with the interrupted run in --out")
    writing.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    writing.add_argument(
        "--save-every", type=int, default=100, metavar="N", help="frames between saved states (default: 100)"
    )

    reading = parser.add_argument_group("reading")
    reading.add_argument("--reader", default="pyav", choices=["pyav", "decord"])
    reading.add_argument(
        "--queue", type=int, default=8, metavar="N", help="frames that may wait (default: 8)"
    )
    reading.add_argument(
        "--on-behind",
        choices=["wait", "drop"],
        help="a stream that is faster than tracking: keep every frame or drop some (default: drop)",
    )

    parser.add_argument("--show", action="store_true", help="show the frames in a window; Escape closes it")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    printing = parser.add_mutually_exclusive_group()
    printing.add_argument("--json", action="store_true", help="print the summary as JSON")
    printing.add_argument(
        "--json-lines",
        action="store_true",
        help="print a frame's line of masklets.jsonl as it is tracked; the summary goes to standard error",
    )


def run(args: argparse.Namespace) -> int:
    from vidseg.exit_codes import EXIT_INTERRUPTED
    from vidseg.pipeline.discovery_options import discovery_of
    from vidseg.pipeline.plan import TrackOptions
    from vidseg.pipeline.progress import bar
    from vidseg.pipeline.run import Run
    from vidseg.pipeline.stop import Stop

    asked = options_of(args)

    def warn(line: str) -> None:
        if not args.quiet:
            print(f"vidseg: warning: {line}", file=sys.stderr)

    discover = said_of_discovery(args)
    prompts = combine(args.prompts) if args.prompts or discover is None else None
    stop = Stop()
    with stop.on_signals():
        summary = Run(
            _source(args.source),
            prompts,
            build_tracker,
            args.out,
            TrackOptions(
                formats=[name.strip() for name in args.format.split(",")],
                direction=args.direction,
                start=args.start,
                end=args.end,
                resume=args.resume,
                overwrite=args.overwrite,
                save_every=args.save_every,
                queue_frames=args.queue,
                reader=args.reader,
                on_behind=args.on_behind,
                discover=discovery_of(discover),
            ),
            asked=asked,
            warn=warn,
            progress=bar(quiet=args.quiet),
            stop=stop,
            streams=_streams(args),
        ).run()
    if args.json:
        print(json.dumps(_as_json(summary), indent=2))
    elif not args.quiet:
        print(_as_text(summary), file=sys.stderr if args.json_lines else sys.stdout)
    if summary.status == "interrupted":
        print(f"vidseg: interrupted after {summary.frames_done} frames; --resume goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    if summary.error is not None:
        raise summary.error
    return 0


def _streams(args: argparse.Namespace) -> list[Writer]:
    from vidseg.pipeline.writers.json_lines import JsonLinesWriter
    from vidseg.pipeline.writers.window import WindowWriter

    streams: list[Writer] = [WindowWriter(f"vidseg: {args.source}", {})] if args.show else []
    return [*streams, JsonLinesWriter(sys.stdout)] if args.json_lines else streams


def _source(text: str) -> str | int:
    return int(text) if text.isascii() and text.isdigit() and not Path(text).exists() else text


def _as_text(summary: TrackSummary) -> str:
    if not summary.outputs:
        return f"{summary.status}: nothing was written"
    extent = f"{_count(summary.frames_done, 'frame')}, {_count(len(summary.obj_ids), 'object')}"
    head = f"{summary.status}: {extent}, {summary.frames_per_second:.1f} frames/s"
    if summary.was_done_before:
        head = f"done already: {extent}; nothing was left to resume"
    paths = [*summary.outputs, summary.out / "run.json"]
    return "\n".join([head, *(f"  {path}{'/' if path.is_dir() else ''}" for path in paths)])


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _as_json(summary: TrackSummary) -> dict[str, Any]:
    return {
        "status": summary.status,
        "out": str(summary.out),
        "outputs": [str(path) for path in summary.outputs],
        "record": str(summary.out / "run.json") if summary.outputs else None,
        "frames_done": summary.frames_done,
        "frames_per_second": round(summary.frames_per_second, 3),
        "objects": summary.obj_ids,
        "warnings": summary.warnings,
        "error": None if summary.error is None else summary.error.message,
    }
