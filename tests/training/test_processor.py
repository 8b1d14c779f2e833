"""What makes training on a processor faster."""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest

from vidseg.glibc import glibc
from vidseg.training.batches import start_worker
from vidseg.training.processor import keep_freed_memory

BYTES = 512 * 1024**2


def page_faults_of_allocating(times: int) -> int:
    """How often the system had to clear a page while large blocks were allocated, written and freed."""
    import resource

    import torch

    torch.ones(BYTES // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(BYTES // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def tell_faults(pipe: Connection) -> None:
    before = page_faults_of_allocating(2)
    keep_freed_memory()
    pipe.send((before, page_faults_of_allocating(2)))


@pytest.mark.skipif(glibc() is None, reason="there is no glibc")
def test_freed_memory_is_taken_again_without_new_pages() -> None:
    ours, theirs = get_context("spawn").Pipe()
    child = get_context("spawn").Process(target=tell_faults, args=(theirs,))
    child.start()
    before, after = ours.recv()
    child.join()
    assert after < 0.1 * before


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
