"""Errors speak of options as the command line spells them; in Python they are told as arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from vidseg.errors import VidsegError

ARGUMENTS = {
    "direction": "direction",
    "discover-with": "discover_with",
    "end": "end",
    "format": "formats",
    "image-size": "image_size",
    "out": "out",
    "overwrite": "overwrite=True",
    "queue": "queue_frames",
    "resume": "resume=True",
    "save-every": "save_every",
    "start": "start",
    "tracker": "tracker",
    "weights": "weights",
}
"""The options of `vidseg track` that messages name -> the arguments of `vidseg.track`."""


@contextmanager
def in_python() -> Iterator[None]:
    """Tell errors that are raised inside with the names of arguments."""
    try:
        yield
    except VidsegError as error:
        raise as_python(error)  # noqa: B904 (the same error, with other words)


def as_python(error: VidsegError) -> VidsegError:
    """The same error, with the names of arguments in place of options."""
    error.message = _told(error.message)
    error.where = None if error.where is None else _told(error.where)
    error.hint = None if error.hint is None else _told(error.hint)
    return error


def _told(text: str) -> str:
    text = re.sub(r"--device (auto|cpu|mps|cuda(?::\d+)?)", r"device='\1'", text)
    text = re.sub(r"--prompt '(\{.*\})'", r"prompts=\1", text)
    return re.sub(r"--([a-z][a-z-]*)", lambda found: ARGUMENTS.get(found[1], found[0]), text)
