"""The batches of a run in lockstep: processes make clips into pools on the device, and steps draw from these.

Which clips a step takes depends on how fast they are made, so that two runs differ in that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from vidseg.training.batches import STILL_SEED, start_worker
from vidseg.training.data import ClipMaker
from vidseg.training.lockstep.pool import Pool
from vidseg.training.lockstep.prepared import Portions, Rows
from vidseg.training.settings import TrainSettings

CLIPS_A_PORTION = 4
PORTIONS = 10**7
"""More than any run takes."""


class PooledBatches:
    """The batches of each step, one of clips (empty if it takes none) and one of clips of one frame, on the
    device."""

    def __init__(self, settings: TrainSettings, device: torch.device) -> None:
        assert settings.lockstep is not None
        self._settings = settings
        self._plan = settings.lockstep
        self._pools = Pool(self._plan.pool, device), Pool(self._plan.pool, device)
        one_frame = {"num_frames": 1, "mix": settings.first_frames.mix}
        makers = ClipMaker(settings.data), ClipMaker(settings.data.model_copy(update=one_frame))
        self._makers = makers
        if settings.batch:
            ratio = settings.first_frames.batch / settings.batch
            stills = max(1, round(CLIPS_A_PORTION * ratio * self._plan.still_share))
            self._sizes = CLIPS_A_PORTION, stills
        else:
            self._sizes = 0, CLIPS_A_PORTION
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._failure: BaseException | None = None

    @property
    def made(self) -> int:
        """How many clips have been made so far, those of one frame aside."""
        return self._pools[0].taken_in

    def from_step(self, step: int, *, pin_memory: bool = False) -> Iterator[tuple[Rows, Rows]]:
        """Batches without end; a run that goes on makes other clips than before."""
        loader = iter(self._loader(step))
        sizes = self._settings.batch, self._settings.first_frames.batch
        while any(p.size < min(n, p.capacity) for p, n in zip(self._pools, sizes, strict=True)):
            self._take_in(next(loader))
        yield self._draw(sizes)
        # Clips are taken in on the side only after the first step, in which a GPU records what it does.
        feeder = threading.Thread(target=self._feed, args=(loader,), daemon=True)
        feeder.start()
        try:
            while self._failure is None:
                yield self._draw(sizes)
            raise self._failure
        finally:
            self._ends.set()
            feeder.join()

    def _draw(self, sizes: tuple[int, int]) -> tuple[Rows, Rows]:
        with self._lock:
            clips, stills = (
                pool.draw(size) if size else {} for pool, size in zip(self._pools, sizes, strict=True)
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
            self._failure = error

    def _take_in(self, portion: tuple[Rows, Rows]) -> None:
        with self._lock:
            for pool, rows in zip(self._pools, portion, strict=True):
                if rows:
                    pool.put(rows)
