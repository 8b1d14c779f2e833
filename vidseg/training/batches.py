"""The clips of each training step. Which clips a step takes depends on its number alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from vidseg.training.data import ClipDataset, ClipMaker
from vidseg.training.settings import StepRange, TrainSettings
from vidseg.training.trainer import Clips


class Batches:
    """Batches of made clips for each step of a run.

    Clips are numbered through the whole run, and each is used once; clip i depends on the seed and i alone.

    Raises:
        ConfigError: the clips cannot be made, for example because a folder is missing.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._spans = [(span, ClipMaker(span.data)) for span in settings.spans()]

    def from_step(self, step: int, *, pin_memory: bool = False) -> Iterator[list[Clips]]:
        """For each step from `step` (0-based) to the last, the `accumulate` batches of clips it takes."""
        for span, maker in self._spans:
            first = max(span.first, step)
            if first < span.end:
                yield from self._of_span(span, maker, first, pin_memory)

    def _of_span(
        self, span: StepRange, maker: ClipMaker, first: int, pin_memory: bool
    ) -> Iterator[list[Clips]]:
        settings = self._settings
        per_step = span.batch * settings.accumulate
        start = span.clips_before + (first - span.first) * per_step
        stop = span.clips_before + (span.end - span.first) * per_step
        if settings.workers:
            # Read before the workers are forked, so that they share it.
            maker.preload()
        loader = DataLoader(
            ClipDataset(maker, stop, settings.seed),
            batch_sampler=(list(range(i, i + span.batch)) for i in range(start, stop, span.batch)),
            num_workers=settings.workers,
            worker_init_fn=_start_worker if settings.workers else None,
            pin_memory=pin_memory,
            prefetch_factor=4 if settings.workers else None,
        )
        clips = iter(loader)
        for _ in range(first, span.end):
            yield [tuple(next(clips)) for _ in range(settings.accumulate)]


def _start_worker(number: int) -> None:
    """Give a worker one thread, and leave Ctrl-C, which a terminal sends to all processes, to the trainer."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
