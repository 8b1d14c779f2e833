"""The arguments of discovery: one group for the commands that track."""

from __future__ import annotations

import argparse
from typing import Any

from vidseg.errors import ConfigError
from vidseg.pipeline.commands.everything import add_sampler_arguments

_FIELDS = (
    "every",
    "sampler",
    "discover_with",
    "max_objects",
    "min_area",
    "detector",
    "text",
    "threshold",
)
"""Arguments that are fields of `DiscoveryOptions` under their own names."""


def add_discovery_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--discover` and what goes with it; arguments that are not given are None."""
    group = parser.add_argument_group("objects that nobody prompted")
    group.add_argument(
        "--discover", action="store_true", help="find objects, and follow them too; no prompt is needed"
    )
    group.add_argument("--every", type=int, metavar="N", help="frames between two looks (default: 15)")
    group.add_argument(
        "--discover-with",
        metavar="NAME",
        help="the image model that finds objects (default: the tracker's own)",
    )
    group.add_argument(
        "--max-objects", type=int, metavar="N", help="objects that are followed at one time (default: 50)"
    )
    group.add_argument(
        "--min-area", type=int, metavar="PIXELS", help="least area of an object (default: 0.1 %% of a frame)"
    )
    group.add_argument(
        "--detector",
        metavar="SPEC",
        help="find what a detector draws boxes around: boxes.json, model.onnx, owlv2:FOLDER, "
        "grounding-dino:FOLDER, or a plug-in's NAME",
    )
    group.add_argument("--text", metavar="TEXT", help="what the detector looks for: 'red cup, dog'")
    group.add_argument(
        "--threshold", type=float, metavar="S", help="lowest score of a detection (default: the detector's)"
    )
    add_sampler_arguments(parser)


def said_of_discovery(args: argparse.Namespace) -> dict[str, Any] | None:
    """The fields of `DiscoveryOptions` that the arguments give; None if no objects are to be found.

    A detector, and a text for one, ask for it as `--discover` does.

    Raises:
        ConfigError: arguments of discovery without it.
    """
    said = {name: getattr(args, name) for name in _FIELDS if getattr(args, name) is not None}
    if args.set:
        said["sampling"] = dict(args.set)
    if args.discover or args.detector is not None or args.text is not None:
        return said
    if said:
        name = "set" if "sampling" in said else min(said)
        raise ConfigError(f"--{name.replace('_', '-')} is about discovery", hint="add --discover")
    return None
