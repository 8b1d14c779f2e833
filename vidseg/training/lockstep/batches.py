"""The batches of a run in lockstep: processes make clips into pools on the device, and steps draw from these.

Which clips a step takes depends on how fast they are made, so that two runs differ in that.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Generator, Iterator
from contextlib import closing

import torch
from torch.utils.data import DataLoader

from vidseg.training.batches import STILL_SEED, start_worker
from vidseg.training.data import ClipMaker
from vidseg.training.lockstep.pool import Pool
from vidseg.training.lockstep.prepared import Portions, Rows
from vidseg.training.settings import StepRange, TrainSettings

CLIPS_A_PORTION = 4
PORTIONS = 10**7
"""More than any run takes."""


class PooledBatches:
    """The batches of each step, one of clips (empty if it takes none) and one of clips of one frame, on the
    device."""

    def __init__(self, settings: TrainSettings, device: torch.device) -> None:
        self._settings, self._device = settings, device

    def from_step(self, step: int, *, pin_memory: bool = False) -> Iterator[tuple[Rows, Rows]]:
        """For each step from `step` (0-based) to the last, its batches; a run that goes on makes other clips
        than before."""
        for span in self._settings.spans():
            first = max(step, span.first)
            if first < span.end:
                batches = _SpanBatches(self._settings, span, self._device).from_step(first)
                with closing(batches):
                    yield from itertools.islice(batches, span.end - first)


class _SpanBatches:
    """The batches of a span of steps, whose clips are of one size and length."""

    def __init__(self, settings: TrainSettings, span: StepRange, device: torch.device) -> None:
        assert settings.lockstep is not None
        plan = settings.lockstep
        self._settings = settings
        self._batches = span.batch, span.first_frames
        self._pools = Pool(plan.pool, device), Pool(plan.pool, device)
        self._makers = ClipMaker(span.data), ClipMaker(settings.first_frames.clips(span.data))
        if span.batch:
            ratio = span.first_frames / span.batch
            stills = max(1, round(CLIPS_A_PORTION * ratio * plan.still_share))
            self._sizes = CLIPS_A_PORTION, stills
        else:
            self._sizes = 0, CLIPS_A_PORTION
        self._most_draws, self._drawn = plan.most_draws or math.inf, 0
        # Of this pool draws are counted: of that of clips, if steps take any.
        self._counted = 0 if span.batch else 1
        self._changed = threading.Condition()
        self._ends = threading.Event()
        self._failure: BaseException | None = None

    def from_step(self, step: int) -> Generator[tuple[Rows, Rows]]:
        """Batches without end."""
        loader = iter(self._loader(step))
        while any(p.size < min(n, p.capacity) for p, n in zip(self._pools, self._batches, strict=True)):
            self._take_in(next(loader))
        yield self._draw()
        # Clips are taken in on the side only after the first step, in which a GPU records what it does.
        feeder = threading.Thread(target=self._feed, args=(loader,), daemon=True)
        feeder.start()
        try:
            while self._failure is None:
                yield self._draw()
            raise self._failure
        finally:
            self._ends.set()
            feeder.join()

    def _draw(self) -> tuple[Rows, Rows]:
        counted = self._pools[self._counted]
        with self._changed:
            while self._drawn > self._most_draws * counted.taken_in and self._failure is None:
                self._changed.wait()
            self._drawn += self._batches[self._counted]
            clips, stills = (
                pool.draw(size) if size else {} for pool, size in zip(self._pools, self._batches, strict=True)
            )
        return clips, stills

    def _loader(self, step: int) -> DataLoader[tuple[Rows, Rows]]:
        settings = self._settings
        for maker in self._makers:
            maker.preload()  # before workers are forked, so that they share what was read
        seeds = settings.seed + step, settings.seed + STILL_SEED + step
        portions = Portions(*self._makers, self._sizes, settings.unroll.prompts, seeds, PORTIONS)
        return DataLoader(
            portions,
            batch_size=None,
            sampler=range(PORTIONS),
            num_workers=settings.workers,
            worker_init_fn=start_worker if settings.workers else None,
            prefetch_factor=4 if settings.workers else None,
        )

    def _feed(self, loader: Iterator[tuple[Rows, Rows]]) -> None:
        try:
            while not self._ends.is_set():
                self._take_in(next(loader))
        except BaseException as error:  # it is raised again where batches are drawn
            with self._changed:
                self._failure = error
                self._changed.notify()

    def _take_in(self, portion: tuple[Rows, Rows]) -> None:
        with self._changed:
            for pool, rows in zip(self._pools, portion, strict=True):
                if rows:
                    pool.put(rows)
            self._changed.notify()
