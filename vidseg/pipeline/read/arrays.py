"""Opens iterables of arrays, or of frames, as a source."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from vidseg.errors import DecodeError, InputError, SourceError
from vidseg.pipeline.read.frame_range import FrameRange
from vidseg.pipeline.read.info import ASSUMED_FRAME_RATE, SourceInfo
from vidseg.trackers.contract import Frame

NAME = "arrays"


def open_arrays(
    arrays: Iterable[Any], span: FrameRange, *, reverse: bool
) -> tuple[SourceInfo, Generator[Frame, None, None]]:
    """The facts of an iterable of uint8 H x W x 3 RGB arrays (or of `Frame`s), and a generator of its frames.

    Only the next array is held. A `Frame` keeps its own number and time.

    Raises:
        SourceError: nothing in it, a first item that is no picture, a start past the end, or reverse on
            something that is not a sequence.
    """
    is_sequence = hasattr(arrays, "__len__") and hasattr(arrays, "__getitem__")
    items: Iterator[tuple[int, Any]]
    if is_sequence:
        sequence: Sequence[Any] = arrays  # type: ignore[assignment]
        if len(sequence) == 0:
            raise _empty()
        wanted = span.slice(len(sequence), NAME)
        items = ((index, sequence[index]) for index in (wanted[::-1] if reverse else wanted))
    elif reverse:
        raise SourceError("an iterable cannot be read in reverse", hint="give a list of arrays")
    else:
        try:
            items = islice(enumerate(arrays), span.start, span.end)
        except TypeError:
            raise SourceError(
                f"a {type(arrays).__name__} cannot be read",
                hint="give a path, an address, a camera number or an iterable of arrays",
            ) from None
    head = next(items, None)
    if head is None:
        if span.start == 0:
            raise _empty()
        raise SourceError(f"the arrays end before start frame {span.start}", hint="give a lower start")
    try:
        first = _frame(*head)
    except InputError as failure:
        raise SourceError(failure.message, hint=failure.hint) from None
    info = SourceInfo(
        kind="array",
        name=NAME,
        size_hw=first.size_hw,
        num_frames=len(sequence) if is_sequence else None,
        can_seek=is_sequence,
    )
    return info, _frames(chain([head], items), first.size_hw)


def _frames(items: Iterator[tuple[int, Any]], size_hw: tuple[int, int]) -> Generator[Frame, None, None]:
    for count, (index, item) in enumerate(items):
        try:
            frame = _frame(index, item)
        except InputError as failure:
            raise DecodeError(failure.message, frames_read=count, hint=failure.hint) from None
        if frame.size_hw != size_hw:
            height, width = frame.size_hw
            raise DecodeError(
                f"array {index} is {width}x{height}, the ones before {size_hw[1]}x{size_hw[0]}",
                frames_read=count,
                hint="give arrays of one size",
            )
        yield frame


def _frame(index: int, item: Any) -> Frame:
    if isinstance(item, Frame):
        return item
    return Frame(index, float(index / ASSUMED_FRAME_RATE), np.ascontiguousarray(item))


def _empty() -> SourceError:
    return SourceError(
        "the iterable holds no frames", hint="give at least one uint8 height x width x 3 array"
    )
