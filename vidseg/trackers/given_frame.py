"""What a caller gives `Session.step`: a frame, or a picture alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from vidseg.errors import InputError
from vidseg.trackers.contract import Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

Computed = TypeVar("Computed")

FRAME_RATE = 24
"""Frames a second that pictures without times are taken to have, as folders of frames are."""


def as_frame(
    given: Frame | npt.NDArray[np.uint8], last: int | None, *, reverse: bool = False, bgr: bool = False
) -> Frame:
    """The frame that is meant; a picture alone is the one after the last.

    Args:
        given: a `Frame`, or uint8 H x W x 3, RGB.
        last: the index of the frame last stepped to; None before the first one.
        reverse: frames come in falling order of index.
        bgr: the picture's channels are blue, green, red, as OpenCV reads them.

    Raises:
        InputError: it is neither, or in reverse a first picture whose index nobody knows.
    """
    if isinstance(given, Frame):
        if bgr:
            raise InputError("bgr=True is for arrays: a Frame's image is RGB", hint="give the array itself")
        return given
    if not isinstance(given, np.ndarray) or not given.ndim:
        raise InputError(
            f"step() got {_told(given)}, which is no frame",
            hint="give a vidseg.Frame, or uint8 H x W x 3 RGB",
        )
    if last is None and reverse:
        raise InputError(
            "the first picture of a session in reverse has no index", hint="give vidseg.Frame(index, ...)"
        )
    index = 0 if last is None else last + (-1 if reverse else 1)
    return Frame(index, index / FRAME_RATE, np.ascontiguousarray(given[..., ::-1]) if bgr else given)


def check_frame(given: object) -> None:
    """Refuse what is no frame where a picture alone would not say which one it is.

    Raises:
        InputError: it is no `Frame`.
    """
    if not isinstance(given, Frame):
        raise InputError(
            f"condition() got {_told(given)}, and knows no frame by it",
            hint="give vidseg.Frame(index, pts_seconds, image)",
        )


def computed_once(frame: Frame, by: object, compute: Callable[[], Computed]) -> Computed:
    """What a tracker computes of a picture: once for all its sessions, if the frame keeps it.

    Args:
        by: who computes; others do not get it.
    """
    if frame.kept is None:
        return compute()
    if by not in frame.kept:
        frame.kept[by] = compute()
    kept: Computed = frame.kept[by]
    return kept


def _told(given: Any) -> str:
    shape = getattr(given, "shape", None)
    return f"a {type(given).__name__}{'' if shape is None else f' of shape {tuple(shape)}'}"
