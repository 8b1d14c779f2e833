"""The C library, for the few settings of its allocator that pay."""

from __future__ import annotations

import ctypes
import sys
from functools import cache


@cache
def glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None
