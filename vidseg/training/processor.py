"""What makes training on a processor faster without a change to its result."""

from __future__ import annotations

import os


def take_idle_time() -> None:
    """Let this process run only where a core would else be idle.

    The threads of a step wait for one another. If a process that makes clips takes the core of one, all wait,
    so that the step takes several times as long.
    """
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
