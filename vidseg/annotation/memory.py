"""Keeps the memory of a long session flat.

Containers and streams of PyAV hold each other, so that a decoder that was used up, with megabytes of
buffers, stays until Python looks for such rings, which it does rarely where much else is alive.

For each thread that allocates at the same time as others, glibc opens an arena of its own, up to eight for a
core, and an arena keeps what was freed in it. A session tracks, answers, decodes and writes in many threads,
so its arenas would fill up one after the other for an hour.
"""

from __future__ import annotations

import gc

from vidseg.glibc import glibc

ARENAS = 2
"""One for answers, one for tracking beside them."""
_M_ARENA_MAX = -8
"""See mallopt(3)."""


def share_arenas() -> None:
    """Let all threads of this process allocate in few arenas; it changes nothing for those that have one."""
    library = glibc()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, ARENAS)


def set_aside() -> None:
    """Let `give_back` pass over all that is alive now, which is to stay: it then takes hardly any time."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Free what only holds itself, and give memory that was freed back to the system."""
    gc.collect()
    library = glibc()
    if library is not None:
        library.malloc_trim(0)
