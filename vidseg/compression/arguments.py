"""Arguments that several ways of compressing share: the parts, and where an object of the pictures is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vidseg.errors import InputError

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box


def parts_of(args: argparse.Namespace) -> list[str]:
    """The names of `--parts`."""
    return [part.strip() for part in args.parts.split(",")]


def add_box(parser: argparse.ArgumentParser) -> None:
    """Add `--box`, which `box_of` reads."""
    parser.add_argument(
        "--box",
        metavar="X0,Y0,X1,Y1",
        help="an object on the clip's first frame, or on each picture (default: the middle)",
    )


def box_of(args: argparse.Namespace) -> Box | None:
    """The box, if one is given.

    Raises:
        InputError: it is not four numbers.
    """
    if args.box is None:
        return None
    try:
        x0, y0, x1, y1 = (float(number) for number in args.box.split(","))
    except ValueError:
        raise InputError(f"--box '{args.box}'", hint="give X0,Y0,X1,Y1 in pixels") from None
    return x0, y0, x1, y1
