"""The C library, for the few settings of its allocator that pay."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""See mallopt(3)."""
PAD_BYTES = 256 * 1024**2
"""The heap grows by this much more than is asked for."""


@cache
def glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its next allocations; of other C libraries nothing
    is asked.

    A step of training, or a picture of which everything is asked, allocates and frees the same gigabytes as
    the one before. By itself glibc gives large blocks back to the system at once, which then clears every
    page of them anew: a third of the time or more. The heap, which blocks of all sizes share by then, holds
    somewhat more.
    """
    library = glibc()
    if library is not None:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, -1)  # never
        library.mallopt(_M_TOP_PAD, PAD_BYTES)
