"""The clips of each step. Which clips a step takes is a function of its number alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from vidseg.training.data import ClipDataset, ClipMaker
from vidseg.training.settings import TrainSettings
from vidseg.training.trainer import Clips


def batches(settings: TrainSettings, from_step: int, *, pin_memory: bool = False) -> Iterator[list[Clips]]:
    """For each step from `from_step` to the last: `accumulate` batches of clips.

    Clips are numbered through the whole run and each is used once; clip i is a function of the seed and i.
    """
    for span in settings.spans():
        first = max(span.first, from_step)
        if first >= span.end:
            continue
        passes = settings.accumulate
        per_step = span.batch * passes
        # Of the clips that the span's steps take, those from `first` on.
        start = span.clips_before + (first - span.first) * per_step
        stop = span.clips_before + (span.end - span.first) * per_step
        maker = ClipMaker(span.data)
        if settings.workers:
            # Before the fork, so that the workers share what was read.
            maker.preload()
        loader = DataLoader(
            ClipDataset(maker, stop, settings.seed),
            batch_sampler=[range(i, i + span.batch) for i in range(start, stop, span.batch)],
            num_workers=settings.workers,
            worker_init_fn=_start_worker if settings.workers else None,
            pin_memory=pin_memory,
            prefetch_factor=4 if settings.workers else None,
        )
        clips = iter(loader)
        for _ in range(first, span.end):
            yield [tuple(next(clips)) for _ in range(passes)]  # type: ignore[misc]


def _start_worker(number: int) -> None:
    """One thread a worker; and Ctrl-C, which goes to every process of a terminal, is the trainer's to handle."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
