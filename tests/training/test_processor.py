"""What makes training on a processor faster."""

from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest

from vidseg.glibc import glibc
from vidseg.training.batches import start_worker

FREES_64_MB = """
import mmap
import sys
from vidseg.glibc import keep_freed_memory

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * mmap.PAGESIZE / 1024**2

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resident_mb()
block = bytearray(b"x") * (64 * 1024**2)
held = resident_mb() - before
del block
print(held, resident_mb() - before)
"""


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


@pytest.mark.skipif(glibc() is None, reason="only glibc's allocator is told to keep memory")
@pytest.mark.parametrize(("asked", "kept_mb"), [("keep", 64), ("default", 0)])
def test_a_run_keeps_the_memory_that_it_frees(asked: str, kept_mb: int) -> None:
    call = [sys.executable, "-c", FREES_64_MB, asked]
    told = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    held, kept = (float(number) for number in told.split())
    assert held == pytest.approx(64, abs=4)
    assert kept == pytest.approx(kept_mb, abs=4)
