"""The clips of each step. Which clips a step takes is a function of its number alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from vidseg.training.data import ClipDataset, ClipMaker
from vidseg.training.settings import Span, TrainSettings
from vidseg.training.trainer import Clips


class Batches:
    """Clips are numbered through the whole run and each is used once; clip i is a function of the seed and i.

    Raises:
        ConfigError: the clips cannot be made, for want of a folder, say.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._spans = [(span, ClipMaker(span.data)) for span in settings.spans()]

    def from_step(self, step: int, *, pin_memory: bool = False) -> Iterator[list[Clips]]:
        """For each step from `step`, 0-based, to the last: `accumulate` batches of clips."""
        for span, maker in self._spans:
            first = max(span.first, step)
            if first < span.end:
                yield from self._of_span(span, maker, first, pin_memory)

    def _of_span(self, span: Span, maker: ClipMaker, first: int, pin_memory: bool) -> Iterator[list[Clips]]:
        settings = self._settings
        per_step = span.batch * settings.accumulate
        start = span.clips_before + (first - span.first) * per_step
        stop = span.clips_before + (span.end - span.first) * per_step
        if settings.workers:
            # Before the fork, so that the workers share what was read.
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
    """One thread each; and Ctrl-C, which goes to every process of a terminal, is the trainer's to handle."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
