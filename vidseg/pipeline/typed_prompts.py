"""Prompts on the command line: boxes, points, inline JSON and files, each an object of its own.

Coordinates are pixels of the frame as shown: origin at the top-left corner, x to the right, y down.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from vidseg.errors import PromptError

Typed = str | Mapping[str, Any]
"""Path of a prompt file ('-' for standard input), or the content of one."""
Combined = Typed | list[Mapping[str, Any]]
"""The same, or several short forms, each for an object of its own."""


def add_prompt_arguments(
    parser: argparse.ArgumentParser,
    *,
    title: str = "what to follow",
    where: str = "on the first frame, in pixels",
) -> None:
    """Add `--prompt`, `--box` and `--points`; `args.prompts` lists their values in the order of typing."""
    group = parser.add_argument_group(title)
    group.add_argument(
        "--prompt",
        dest="prompts",
        action="append",
        type=_file_or_json,
        metavar="FILE_OR_JSON",
        help='a JSON file such as {"box": [x0, y0, x1, y1]}, or its text in quotes; - reads standard input '
        "(vidseg schema prompt shows all it may say)",
    )
    group.add_argument(
        "--box",
        dest="prompts",
        action="append",
        type=_box,
        metavar="X0,Y0,X1,Y1",
        help=f"a box {where}; each one more is one more object",
    )
    group.add_argument(
        "--points",
        dest="prompts",
        action="append",
        type=_points,
        metavar="X,Y[,0];...",
        help=f"points of one object {where}; a third number 0 says that a point is off the object",
    )


def combine(typed: Sequence[Typed] | None) -> Combined:
    """All typed prompts as one value for `read_prompts`.

    Raises:
        PromptError: nothing was typed, or a whole prompt file beside other prompts.
    """
    from vidseg.pipeline.prompt_forms import ShortForm

    if not typed:
        raise PromptError(
            "nothing says what to follow",
            hint="--box X0,Y0,X1,Y1, --points X,Y, or --prompt FILE; or --discover, or --detector",
        )
    if len(typed) == 1:
        return typed[0]
    prompts: list[Mapping[str, Any]] = []
    for each in typed:
        if isinstance(each, str) or not set(each) <= set(ShortForm.model_fields):
            raise PromptError(
                "a prompt file stands alone: it names all its objects",
                hint="put the boxes and points into the file, or type each of the objects",
            )
        prompts.append(each)
    return prompts


def _file_or_json(text: str) -> Typed:
    from vidseg.pipeline.prompts import decode_prompts

    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        said = decode_prompts(text.encode(errors="surrogateescape"), "--prompt")
    except PromptError as error:
        raise argparse.ArgumentTypeError("; ".join(filter(None, (error.message, error.hint)))) from None
    if not isinstance(said, dict):
        raise argparse.ArgumentTypeError('a prompt is a JSON object, such as {"box": [x0, y0, x1, y1]}')
    return said


def _box(text: str) -> Typed:
    numbers = _numbers(text)
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"'{text}' has {len(numbers)} numbers: a box is X0,Y0,X1,Y1")
    return {"box": numbers}


def _points(text: str) -> Typed:
    rows = [_numbers(part) for part in text.split(";") if part.strip()]
    if not rows or not all(len(row) == 2 or (len(row) == 3 and row[2] in (0, 1)) for row in rows):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no list of points: X,Y for each, X,Y,0 off the object, ';' between them"
        )
    return {
        "points": [row[:2] for row in rows],
        "labels": [int(row[2]) if len(row) == 3 else 1 for row in rows],
    }


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' are not numbers with commas between them") from None
