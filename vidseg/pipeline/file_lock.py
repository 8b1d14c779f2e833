"""Keeps other processes away from what this one writes."""

from __future__ import annotations


def lock(file: int) -> bool:
    """Hold a lock on an open file until it is closed.

    Args:
        file: its descriptor.

    Returns:
        Whether it is held. Windows has no such locks, and callers must not start two runs in one folder.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        return False
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True
