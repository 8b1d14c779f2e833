"""Keeps other processes away from what this one writes."""

from __future__ import annotations


def lock(file: int) -> None:
    """Hold a lock on an open file until it is closed.

    Args:
        file: its descriptor.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows cannot lock: callers must not start two runs in one folder
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
