"""What makes training on a processor faster without a change to its result."""

from __future__ import annotations

import os

from vidseg.glibc import glibc

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""See mallopt(3)."""
PAD_BYTES = 256 * 1024**2
"""The heap grows by this much more than is asked for."""


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its next allocations.

    A step allocates and frees the same gigabytes as the one before. By itself glibc gives large blocks back
    to the system at once, which then clears every page of them anew: a third of a step's time or more.
    """
    library = glibc()
    if library is not None:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, -1)  # never
        library.mallopt(_M_TOP_PAD, PAD_BYTES)


def take_idle_time() -> None:
    """Let this process run only where a core would else be idle.

    The threads of a step wait for one another. If a process that makes clips takes the core of one, all wait,
    so that the step takes several times as long.
    """
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
