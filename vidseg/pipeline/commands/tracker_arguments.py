"""The arguments that choose a tracker and its options: one group for all commands that have one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, get_args

from vidseg.errors import ConfigError
from vidseg.trackers.choices import DEFAULT_TRACKER, DType, EncoderProducts
from vidseg.trackers.configs import read_config
from vidseg.trackers.registry import TRACKERS

if TYPE_CHECKING:
    from vidseg.trackers.options import TrackerOptions

DEVICE_HELP = "auto, cpu, cuda, cuda:1, mps (default: auto)"


def add_model_arguments(
    parser: argparse.ArgumentParser, *, title: str = "tracker", metavar: str = "NAME_OR_YAML"
) -> argparse._ArgumentGroup:
    """Add the group to a parser, with what chooses a model and its weights alone; arguments that are not
    given are None."""
    group = parser.add_argument_group(title)
    names = ", ".join(TRACKERS.known)
    group.add_argument(
        "--tracker", metavar=metavar, help=f"a YAML file, or one of: {names} (default: {DEFAULT_TRACKER})"
    )
    group.add_argument("--weights", metavar="FILE", help=".pt or .safetensors; default: the tracker's own")
    group.add_argument("--image-size", type=int, metavar="S", help="side of the square model input")
    group.add_argument(
        "--allow-random-weights",
        action="store_true",
        default=None,
        help="run a model without weights; its masks mean nothing",
    )
    return group


def add_tracker_arguments(
    parser: argparse.ArgumentParser, *, title: str = "tracker", metavar: str = "NAME_OR_YAML"
) -> None:
    """Add the group to a parser, with all that changes how a tracker runs; arguments that are not given are
    None."""
    group = add_model_arguments(parser, title=title, metavar=metavar)
    group.add_argument("--device", metavar="D", help=DEVICE_HELP)
    group.add_argument(
        "--dtype",
        choices=get_args(DType),
        help="default: auto, bfloat16 where it is faster and masks stay the same, else float32",
    )
    group.add_argument(
        "--encoder-products",
        choices=get_args(EncoderProducts),
        help="on an NVIDIA GPU, with torchao: the image encoder in eight bits, or with half of its weights",
    )
    for name, what in _SWITCHES.items():
        group.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=what)
    for name, what in _NUMBERS.items():
        group.add_argument(f"--{name}", type=int, metavar="N", help=what)


_SWITCHES = {
    "compile": "compile what every frame goes through; the first frames take minutes",
    "graphs": "on an NVIDIA GPU, record what every frame computes, and replay it",
    "non-overlap-masks": "give each pixel to one object, in masks too (label maps do so always)",
    "fast": "read fewer memories and less of the frame, as the tracker's YAML says; masks change a little",
    "corrections-condition": "a corrected frame becomes a conditioning frame",
    "clear-memory-around-corrections": "forget tracked frames around a corrected one",
}
_NUMBERS = {
    "fill-hole-area": "fill holes of at most N low-res pixels in masks (default: 0)",
    "remove-speck-area": "drop regions of at most N low-res pixels from masks (default: 0)",
    "max-conditioning": "conditioning frames that memory attention reads at most",
}


def take_name_as_tracker(args: argparse.Namespace) -> None:
    """Let the positional NAME of a command choose the tracker, as `--tracker` does.

    Raises:
        ConfigError: both are given.
    """
    if args.name is None:
        return
    if args.tracker is not None:
        raise ConfigError(
            f"'{args.name}' and --tracker '{args.tracker}' both name a tracker", hint="give one of them"
        )
    args.tracker = args.name


def check_tracker_name(args: argparse.Namespace) -> None:
    """Check that there is such a tracker, before what builds it is imported, which takes seconds.

    Raises:
        ConfigError: there is not.
    """
    read_config(options_of(args).tracker)


def said_of_tracker(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `TrackerOptions` that the arguments give."""
    from vidseg.trackers.options import TrackerOptions

    given = {name: getattr(args, name, None) for name in TrackerOptions.model_fields}
    return {name: value for name, value in given.items() if value is not None}


def options_of(args: argparse.Namespace) -> TrackerOptions:
    """The options of a tracker in the arguments.

    Raises:
        ConfigError: a value is not allowed.
    """
    from vidseg.trackers.options import TrackerOptions

    return TrackerOptions.of(**said_of_tracker(args))
