"""Coarse threads for the CPU kernels: each worker runs its share of rows with one-thread operations.

Splitting every small operation over threads would make them wait for each other thousands of times a frame,
and much longer where other programs share the cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_lock = threading.Lock()


def split_rows(work: Callable[[slice], None], num_rows: int) -> None:
    """Call `work` with slices that cover the rows, one for each thread that torch may use."""
    threads = torch.get_num_threads()
    if threads == 1:
        work(slice(0, num_rows))
        return
    size = -(-num_rows // threads)
    slices = [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]
    for future in [_workers(threads).submit(_without_gradients, work, rows) for rows in slices]:
        future.result()


def _without_gradients(work: Callable[[slice], None], rows: slice) -> None:
    with torch.inference_mode():
        work(rows)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    # A thread copies the process's number of threads at its first operation. Do that now, while it is 1.
    torch.get_num_threads()


def _workers(threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size != threads:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool = ThreadPoolExecutor(threads, "vidseg-cpu", initializer=_use_one_thread)
            _pool_size = threads
            started = threading.Barrier(threads + 1)
            for _ in range(threads):
                _pool.submit(started.wait)
            started.wait()
            # Workers set 1 for themselves, but new threads would start from it too: put the number back.
            torch.set_num_threads(threads)
        return _pool
