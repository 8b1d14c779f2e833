"""The order in which a session takes frames and corrects them, the same for every tracker."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from vidseg.errors import InputError


def checked_length(num_frames: SupportsIndex | None) -> int | None:
    """The declared length of a video as a plain int, which can be saved; None where it is not known.

    Raises:
        InputError: it is no integer.
    """
    try:
        return None if num_frames is None else operator.index(num_frames)
    except TypeError:
        raise InputError(
            f"num_frames is {num_frames!r}", hint="give the number of frames, or None where it is not known"
        ) from None


def no_frame_to_correct() -> InputError:
    """The error of `refine` in a session that has no frame."""
    return InputError(
        "there is no frame to correct", hint="step() a frame first (also after a session was restored)"
    )


def check_frame_order(frame_idx: int, last: int | None, *, reverse: bool) -> None:
    """Refuse a frame that does not come after the last one; frames in between may be left out.

    Args:
        last: the frame last stepped to; None before the first one.
        reverse: frames come in falling order of index.

    Raises:
        InputError: the frame was passed already, or is the last one again.
    """
    if last is None or (frame_idx < last if reverse else frame_idx > last):
        return
    if frame_idx == last:
        raise InputError(
            f"frame {frame_idx} was given twice", hint="refine() corrects the frame last stepped to"
        )
    raise InputError(
        f"frame {frame_idx} was given after frame {last}, and what it would read is forgotten",
        hint="frames come in rising order of index, or in falling order after start(reverse=True)",
    )
