"""`vidseg everything`: all masks of pictures, by any image model and sampler."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidseg.pipeline.commands.stills_arguments import (
    add_stills_arguments,
    check_stills_arguments,
    run_stills,
)
from vidseg.trackers.choices import SAMPLERS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vidseg.pipeline.stills.masks import PictureMasks
    from vidseg.pipeline.stills.pictures import Picture
    from vidseg.trackers.image.segmenter import ImageSegmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_stills_arguments(parser)
    add_sampler_arguments(parser, default="grid; with --detector boxes")
    parser.add_argument(
        "--detector",
        metavar="SPEC",
        help="draws the boxes of the sampler 'boxes': boxes.json (its frame or image_id is a picture's name "
        "where all names are numbers, else its place from 0), model.onnx, or NAME:ARGUMENT",
    )
    parser.add_argument("--text", metavar="TEXT", help="what the detector looks for: 'red cup, dog'")


def add_sampler_arguments(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Add `--sampler` and `--set`.

    Args:
        default: what the help says of the sampler that is taken if none is named.
    """
    group = parser.add_argument_group("sampler")
    group.add_argument(
        "--sampler",
        metavar="NAME",
        help=f"one of {', '.join(SAMPLERS)}, or a plug-in's" + (f" (default: {default})" if default else ""),
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="a setting of the sampler, such as points_per_side=16, pred_iou_thresh=0.8, crop_n_layers=1 or "
        "min_mask_region_area=100; may be given several times (default: the model's own, then SAM's)",
    )


def run(args: argparse.Namespace) -> int:
    check_stills_arguments(args)
    from vidseg.detectors import open_detector
    from vidseg.detectors.contract import remark_of
    from vidseg.errors import ConfigError
    from vidseg.glibc import keep_freed_memory
    from vidseg.pipeline.discovery_options import detector_document
    from vidseg.pipeline.stills.everything import everything
    from vidseg.pipeline.stills.pictures import list_pictures
    from vidseg.samplers.table import settings_of

    if args.text is not None and args.detector is None:
        raise ConfigError("--text needs a detector that looks for it", hint="--detector owlv2")
    if args.detector is not None and args.sampler not in (None, "boxes"):
        raise ConfigError(
            f"--detector is for the sampler 'boxes', not for '{args.sampler}'", hint="leave one of them out"
        )
    sampler = args.sampler or ("grid" if args.detector is None else "boxes")
    settings = dict(args.set)
    if sampler == "boxes" and args.detector is None and "boxes" not in settings:
        raise ConfigError("the sampler 'boxes' needs a detector", hint="--detector boxes.json")
    settings_of(sampler, settings)  # tell of misspelt names before a model is loaded
    pictures = list_pictures(args.source)
    detector = None if args.detector is None else open_detector(args.detector, args.text or ())

    def find(segmenter: ImageSegmenter, picture: Picture, image: npt.NDArray[np.uint8]) -> PictureMasks:
        return everything(segmenter, sampler, settings, detector, picture, image)

    facts = {"command": "everything", "sampler": sampler, "settings": settings}
    if detector is not None:
        facts |= {**detector_document(args.detector), "text": args.text}
    head = Path(str(settings.get("weights", "")))
    if head.is_file():
        from vidseg.trackers.weights import sha256_of  # needs torch

        facts["settings"] = {**settings, "weights_sha256": sha256_of(head)}

    def remarks() -> list[str]:
        # What a resumed run used before is not known.
        remark = None if detector is None or args.resume else remark_of(detector, "picture")
        return [] if remark is None else [remark]

    keep_freed_memory()
    return run_stills(args, pictures, find, facts, tags=False, remarks=remarks)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"'{text}' is no setting: NAME=VALUE")
    try:
        return name.strip().replace("-", "_"), json.loads(value)
    except ValueError:
        return name.strip().replace("-", "_"), value
