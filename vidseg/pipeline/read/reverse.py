"""Reads in reverse: a piece is decoded forward, held, and returned from its end."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence

from vidseg.pipeline.read.numbering import Numbered, Numbering

MAX_PIECE_FRAMES = 64
"""A piece is at most this many frames long."""
MAX_PIECE_BYTES = 128 * 2**20
"""The decoded pictures of a piece take at most this many bytes, but for a piece of one frame."""


def piece_frames(bytes_per_picture: int) -> int:
    """How many decoded pictures of this size may be held at once."""
    return max(1, min(MAX_PIECE_FRAMES, MAX_PIECE_BYTES // max(1, bytes_per_picture)))


def pieces(wanted: range, size: int, keyframes: Sequence[int]) -> Iterator[range]:
    """Cut `wanted` into ranges of at most `size` frames, the last one first.

    A piece begins at a keyframe if possible. A group of pictures longer than `size` is not held, but decoded
    again for each of its pieces.
    """
    stop = wanted.stop
    while stop > wanted.start:
        lowest = max(wanted.start, stop - size)
        place = bisect_left(keyframes, lowest)
        is_in_reach = place < len(keyframes) and keyframes[place] < stop
        start = keyframes[place] if is_in_reach else lowest
        yield range(start, stop)
        stop = start


def reversed_pictures(
    numbering: Numbering, wanted: range, size: int, keyframes: Sequence[int]
) -> Generator[Numbered, None, None]:
    """The wanted pictures from the last to the first; at most `size` are held."""
    for piece in pieces(wanted, size, keyframes):
        held = []
        pictures = numbering.pictures(piece.start)
        for numbered in pictures:
            if numbered.number >= piece.stop:
                break
            held.append(numbered)
        pictures.close()
        while held:
            yield held.pop()
