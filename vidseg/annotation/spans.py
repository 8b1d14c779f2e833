"""Spans of frames: lists of (first, last), both inclusive, rising, and with at least a frame between two."""

from __future__ import annotations

from collections.abc import Iterable

from vidseg.errors import InputError

Span = tuple[int, int]


def checked_span(first: int, last: int, num_frames: int) -> Span:
    """Two frames of a video, the lower one first.

    Raises:
        InputError: the video has no such frames.
    """
    first, last = sorted((first, last))
    if first < 0 or last >= num_frames:
        raise InputError(f"there are no frames {first} to {last}", hint=f"the last one is {num_frames - 1}")
    return first, last


def with_span(spans: Iterable[Span], first: int, last: int) -> list[Span]:
    """The spans with the frames `first` to `last`, too."""
    apart: list[Span] = []
    for a, b in spans:
        if b + 1 < first or a - 1 > last:
            apart.append((a, b))
        else:
            first, last = min(first, a), max(last, b)
    return sorted([*apart, (first, last)])


def without_span(spans: Iterable[Span], first: int, last: int) -> list[Span]:
    """The spans without the frames `first` to `last`."""
    kept: list[Span] = []
    for a, b in spans:
        if a < first:
            kept.append((a, min(b, first - 1)))
        if b > last:
            kept.append((max(a, last + 1), b))
    return kept


def is_in(spans: Iterable[Span], frame_idx: int) -> bool:
    return any(first <= frame_idx <= last for first, last in spans)


def count(spans: Iterable[Span]) -> int:
    """How many frames lie in the spans."""
    return sum(last - first + 1 for first, last in spans)
