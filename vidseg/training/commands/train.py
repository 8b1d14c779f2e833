"""`vidseg train`: train a tracker, an image model, or the head of the sampler `peaks`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidseg.training.settings import TrainSettings

from vidseg.exit_codes import EXIT_INTERRUPTED
from vidseg.training.settings_file import read_settings_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML; see docs/training.md")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/NAME-OF-CONFIG")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in DIR, if there is one"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="in place of the YAML's")
    parser.add_argument(
        "--init",
        metavar="WEIGHTS",
        help="weights to start from, a file or a tracker's name, in place of the YAML's",
    )
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:1, mps; in place of the YAML's")
    parser.add_argument(
        "--show-data", action="store_true", help="write pictures of the clips of each stage, and stop"
    )
    parser.add_argument("--json", action="store_true", help="print the record of the run as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def run(args: argparse.Namespace) -> int:
    read_settings_file(args.config)  # tell of a missing file before torch is imported
    from vidseg.pipeline.stop import Stop
    from vidseg.training.run import train
    from vidseg.training.settings import read_settings

    given = {"steps": args.steps, "init": args.init, "device": args.device}
    settings = read_settings(args.config, {key: value for key, value in given.items() if value is not None})
    out = args.out or Path("runs") / args.config.stem
    if args.show_data:
        for path in _show_data(settings, out):
            print(path)
        return 0
    is_silent = args.quiet or args.json
    stop = Stop()
    with stop.on_signals(), stop.stepping():
        record = train(
            settings,
            out,
            resume=args.resume,
            stop=stop,
            tell=(lambda line: None) if is_silent else _print,
        )
    if args.json:
        print(json.dumps(record, indent=2))
    elif not args.quiet:
        done = f"{record['steps_done']} of {settings.steps} steps, {record['clips']} clips"
        print(f"{record['status']}: {done}, {record['seconds']:.0f} s\n  {record['weights']}")
        if record["status"] == "interrupted":
            print("  go on with --resume", file=sys.stderr)
    return 0 if record["status"] == "done" else EXIT_INTERRUPTED


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _show_data(settings: TrainSettings, out: Path) -> list[Path]:
    """Write a sheet of the first clips of each stage, to look at."""
    import torch

    from vidseg.training.batches import maker_of
    from vidseg.training.data import ClipDataset
    from vidseg.training.sheet import MAX_CLIPS, write_sheet

    paths = []
    for span in settings.spans():
        clips = ClipDataset(maker_of(settings, span.data), span.clips_before + MAX_CLIPS, settings.seed)
        shown = [clips[span.clips_before + i] for i in range(MAX_CLIPS)]
        paths.append(out / f"data-from-step-{span.first}.png")
        write_sheet(
            paths[-1],
            torch.stack([images for images, _ in shown]),
            torch.stack([masks for _, masks in shown]),
        )
    return paths
