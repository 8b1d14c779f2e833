"""What `vidseg segment` and `vidseg everything` share: arguments, the run, what is printed in the end."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from vidseg.exit_codes import EXIT_INTERRUPTED, EXIT_SOME_FAILED
from vidseg.trackers.choices import DEFAULT_TRACKER, DType
from vidseg.trackers.registry import TRACKERS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vidseg.pipeline.stills.masks import PictureMasks
    from vidseg.pipeline.stills.pictures import Picture
    from vidseg.pipeline.stills.run import StillsSummary
    from vidseg.trackers.image.segmenter import ImageSegmenter

    Find = Callable[[ImageSegmenter, Picture, npt.NDArray[np.uint8]], PictureMasks]


def add_stills_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the source, the model and the writing."""
    parser.add_argument(
        "source", metavar="IMAGE|FOLDER", type=Path, help="a picture, or a folder of pictures"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="output folder (default: runs/<name>)")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--tracker",
        metavar="NAME_OR_YAML",
        default=DEFAULT_TRACKER,
        help=f"a YAML file, or one of: {', '.join(TRACKERS.known)} (default: {DEFAULT_TRACKER}); not 'flow'",
    )
    model.add_argument("--weights", metavar="FILE", help=".pt or .safetensors; default: the model's own")
    model.add_argument("--device", metavar="D", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    model.add_argument(
        "--dtype", choices=get_args(DType), default="auto", help="default: auto, which is float32"
    )
    model.add_argument(
        "--allow-random-weights", action="store_true", help="run without weights; the masks mean nothing"
    )
    writing = parser.add_argument_group("writing")
    writing.add_argument(
        "--format",
        default="png,rle,overlay",
        metavar="LIST",
        help="of png (label maps), rle (COCO RLE, a JSON a picture), overlay, coco (one JSON for all); "
        "default: png,rle,overlay",
    )
    writing.add_argument("--resume", action="store_true", help="go on with the run in --out")
    writing.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def check_stills_arguments(args: argparse.Namespace) -> None:
    """Check what can be checked before torch is imported.

    Raises:
        ConfigError: arguments that exclude each other, or an unknown name of a format or a model.
    """
    from vidseg.errors import ConfigError
    from vidseg.pipeline.stills.formats import check_formats
    from vidseg.trackers.configs import read_config

    if args.resume and args.overwrite:
        raise ConfigError("--resume and --overwrite exclude each other", hint="give one of them")
    check_formats(_formats(args))
    read_config(args.tracker)


def _formats(args: argparse.Namespace) -> list[str]:
    return [name.strip() for name in args.format.split(",") if name.strip()]


def run_stills(
    args: argparse.Namespace,
    pictures: Sequence[Picture],
    find: Find,
    facts: Mapping[str, Any],
    *,
    tags: bool,
    remarks: Callable[[], list[str]] = list,
) -> int:
    """Run over the pictures, print the summary, and return the exit code.

    Args:
        find: (model, picture, its pixels) -> its objects.
        facts: what decides the masks besides the model.
        remarks: what to warn of in the end.
    """
    from vidseg.pipeline.plan import default_out
    from vidseg.pipeline.progress import bar
    from vidseg.pipeline.stills.folder import StillsFolder
    from vidseg.pipeline.stills.run import StillsRun
    from vidseg.trackers.image.load import build_segmenter, configuration_of
    from vidseg.trackers.options import TrackerOptions

    folder = StillsFolder(args.out or default_out(args.source), _formats(args))
    asked = TrackerOptions.of(
        args.tracker,
        weights=args.weights,
        device=args.device,
        dtype=args.dtype,
        allow_random_weights=args.allow_random_weights,
    )
    if args.resume and (earlier := folder.earlier()) is not None:
        asked = asked.with_dtype_of(earlier.get("dtype"))
    segmenter = build_segmenter(asked)
    dtype = str(segmenter.dtype).removeprefix("torch.")
    model = {
        "tracker": segmenter.name,
        "configuration": configuration_of(args.tracker, segmenter),
        "weights_sha256": segmenter.weights_sha256,
        "dtype": dtype,
    }
    summary = StillsRun(
        pictures=pictures,
        source=args.source,
        folder=folder,
        facts={**model, **facts},
        find=partial(find, segmenter),
        told={"weights": args.weights, "dtype_reason": segmenter.dtype_reason},
        tags=tags,
        progress=bar(quiet=args.quiet, of="pictures"),
        resume=args.resume,
        overwrite=args.overwrite,
    ).run()
    if len(pictures) == 1 and summary.failed:
        raise next(iter(summary.failed.values()))
    _report(args, summary, remarks())
    if summary.status == "interrupted":
        print(f"vidseg: interrupted after {summary.pictures} pictures; --resume goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_SOME_FAILED if summary.failed else 0


def _report(args: argparse.Namespace, summary: StillsSummary, remarks: Sequence[str]) -> None:
    if not args.quiet:
        for remark in remarks:
            print(f"vidseg: warning: {remark}", file=sys.stderr)
    for name, error in summary.failed.items():
        print(f"vidseg: {name}: {error}", file=sys.stderr)
    if args.json:
        print(
            json.dumps(
                {
                    "status": summary.status,
                    "out": str(summary.out),
                    "outputs": [str(path) for path in summary.outputs],
                    "pictures": summary.pictures,
                    "pictures_now": summary.pictures_now,
                    "objects": summary.objects,
                    "warnings": list(remarks),
                    "failed": {name: error.message for name, error in summary.failed.items()},
                },
                indent=2,
            )
        )
    elif not args.quiet:
        print(f"{summary.status}: {_extent(summary)}")
        for path in summary.outputs:
            print(f"  {path}{'/' if path.is_dir() else ''}")


def _extent(summary: StillsSummary) -> str:
    extent = f"{_count(summary.pictures, 'picture')}, {_count(summary.objects, 'object')} found"
    if summary.pictures_now == summary.pictures:
        return extent
    # Objects of earlier tries are not counted: their files need not say how many there are.
    return f"{extent} on the {_count(summary.pictures_now, 'picture')} of this call"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
