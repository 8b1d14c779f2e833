"""How policies that name the frames they will read drop the others."""

from __future__ import annotations

from collections.abc import Set

from vidseg.memory.bank import Moment, ObjectBank


def keep_only(bank: ObjectBank, read: Set[int], moment: Moment, max_pointers: int) -> None:
    """Keep the pointers within reach of tracked frames that are not read, and drop the rest of these frames.

    Args:
        read: the frames whose spatial memories stay.
    """
    for frame_idx, frame in list(bank.tracked.items()):
        if frame_idx in read:
            continue
        if 0 <= moment.frames_back(frame_idx) < max_pointers:
            frame.tokens_nc = None
        else:
            bank.forget(frame_idx)
