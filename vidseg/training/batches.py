"""The clips of each training step. Which clips a step takes depends on its number alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from vidseg.training.data import ClipDataset, ClipMaker, ClipSettings, Maker, StillMaker
from vidseg.training.processor import take_idle_time
from vidseg.training.settings import StepRange, TrainSettings
from vidseg.training.trainer import Clips

STILL_SEED = 5 * 10**8
"""Added to the seed of a run for clips of one frame, which would else begin as its other clips do."""


class Batches:
    """Batches of made clips for each step of a run; of pictures, if a prompt head is trained.

    Clips are numbered through the whole run, and each is used once; clip i depends on the seed and i alone.
    Clips of one frame have numbers and seeds of their own.

    Raises:
        ConfigError: the clips cannot be made, for example because a folder is missing.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        of_one_frame = settings.first_frames.clips
        self._spans = [
            (span, maker_of(settings, span.data), maker_of(settings, of_one_frame(span.data)))
            for span in settings.spans()
        ]

    def from_step(self, step: int, *, pin_memory: bool = False) -> Iterator[list[Clips]]:
        """For each step from `step` (0-based) to the last, the batches it takes: one of clips of one frame,
        if there are such clips, then the `accumulate` batches of clips."""
        for span, maker, still_maker in self._spans:
            first = max(span.first, step)
            if first < span.end:
                yield from self._of_span(span, maker, still_maker, first, pin_memory)

    def _of_span(
        self, span: StepRange, maker: Maker, still_maker: Maker, first: int, pin_memory: bool
    ) -> Iterator[list[Clips]]:
        settings = self._settings
        per_step = span.batch * settings.accumulate
        start = span.clips_before + (first - span.first) * per_step
        stop = span.clips_before + (span.end - span.first) * per_step
        clips = self._load(ClipDataset(maker, stop, settings.seed), span.batch, start, pin_memory)
        stills: Iterator[Clips] | None = None
        if count := span.first_frames:
            start, stop = (span.stills_before + (step - span.first) * count for step in (first, span.end))
            of_stills = ClipDataset(still_maker, stop, settings.seed + STILL_SEED)
            stills = self._load(of_stills, count, start, pin_memory)
        for _ in range(first, span.end):
            passes = [] if stills is None else [next(stills)]
            yield [*passes, *(next(clips) for _ in range(settings.accumulate))]

    def _load(self, clips: ClipDataset, batch: int, start: int, pin_memory: bool) -> Iterator[Clips]:
        """The clips of a data set from number `start` on, in batches."""
        settings = self._settings
        if settings.workers:
            # Read before the workers are forked, so that they share it.
            clips.maker.preload()
        loader = DataLoader(
            clips,
            batch_sampler=(list(range(i, i + batch)) for i in range(start, len(clips), batch)),
            num_workers=settings.workers,
            worker_init_fn=start_worker if settings.workers else None,
            pin_memory=pin_memory,
            prefetch_factor=4 if settings.workers else None,
        )
        return map(tuple, loader)


def maker_of(settings: TrainSettings, data: ClipSettings) -> Maker:
    """What makes the clips of a run, or the pictures that a prompt head learns from."""
    return ClipMaker(data) if settings.prompt_head is None else StillMaker(data)


def start_worker(number: int) -> None:
    """Give a worker one thread and idle time alone; leave Ctrl-C, which a terminal sends to all processes, to
    the trainer."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    take_idle_time()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
