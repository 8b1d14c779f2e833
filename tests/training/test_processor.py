"""What makes training on a processor faster."""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest

from vidseg.training.batches import start_worker


def tell_policy(pipe: Connection) -> None:
    start_worker(0)
    pipe.send(os.sched_getscheduler(0))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no idle priority for a process")
def test_makers_of_clips_take_idle_time_alone() -> None:
    ours, theirs = get_context("fork").Pipe()
    child = get_context("fork").Process(target=tell_policy, args=(theirs,))
    child.start()
    assert ours.recv() == os.SCHED_IDLE
    child.join()
