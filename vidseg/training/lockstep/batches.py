"""The batches of a run in lockstep: processes make clips for pools on the device, and steps draw from these.

Clips come in at the pace of the steps, in the order of their numbers, and draws depend on the seed and the
step's number alone. So which clips a step takes does not depend on how fast they are made, nor on whether the
run was interrupted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from vidseg.training.batches import STILL_SEED, start_worker
from vidseg.training.data import ClipMaker
from vidseg.training.lockstep.pool import Pool
from vidseg.training.lockstep.prepared import Portions, Rows
from vidseg.training.seeds import step_seed
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
        """For each step from `step` (0-based) to the last, its batches."""
        for span in self._settings.spans():
            first = max(step, span.first)
            if first < span.end:
                batches = _SpanBatches(self._settings, span, self._device).from_step(first)
                yield from itertools.islice(batches, span.end - first)


class _SpanBatches:
    """The batches of a span of steps, whose clips are of one size and length."""

    def __init__(self, settings: TrainSettings, span: StepRange, device: torch.device) -> None:
        assert settings.lockstep is not None
        plan = settings.lockstep
        self._settings, self._span, self._device = settings, span, device
        self._batches = span.batch, span.first_frames
        self._pools = Pool(plan.pool, device), Pool(plan.pool, device)
        self._makers = ClipMaker(span.data), ClipMaker(settings.first_frames.clips(span.data))
        if span.batch:
            ratio = span.first_frames / span.batch
            stills = max(1, round(CLIPS_A_PORTION * ratio * plan.still_share))
            self._sizes = CLIPS_A_PORTION, stills
        else:
            self._sizes = 0, CLIPS_A_PORTION
        # Of this pool draws are counted: of that of clips, if steps take any.
        counted = 0 if span.batch else 1
        self._portions_a_step = self._batches[counted] / (plan.draws * self._sizes[counted])
        used = [
            (min(batch, plan.pool), size)
            for batch, size in zip(self._batches, self._sizes, strict=True)
            if batch
        ]
        self._fewest = max(math.ceil(batch / size) for batch, size in used)
        """Portions from which a step can be drawn."""
        self._held = max(math.ceil(plan.pool / size) for _, size in used)
        """Portions of which a pool may still hold something."""

    def from_step(self, step: int) -> Iterator[tuple[Rows, Rows]]:
        """Batches without end."""
        # What the pools held when the run was interrupted is made once more.
        taken = max(0, self._due(step) - self._held)
        for pool, size in zip(self._pools, self._sizes, strict=True):
            pool.skip(taken * size)
        portions = iter(self._loader(taken))
        for number in itertools.count(step):
            for _ in range(taken, self._due(number)):
                self._take_in(next(portions))
            taken = self._due(number)
            yield self._draw(number)

    def _due(self, step: int) -> int:
        """How many portions have come in when a step draws."""
        return max(self._fewest, math.ceil((step + 1 - self._span.first) * self._portions_a_step))

    def _draw(self, step: int) -> tuple[Rows, Rows]:
        seed = step_seed(self._settings.seed, step, "draw")
        generator = torch.Generator(self._device).manual_seed(seed)
        clips, stills = (
            pool.draw(size, generator) if size else {}
            for pool, size in zip(self._pools, self._batches, strict=True)
        )
        return clips, stills

    def _loader(self, first: int) -> DataLoader[tuple[Rows, Rows]]:
        """The portions from number `first` on."""
        settings = self._settings
        for maker in self._makers:
            maker.preload()  # before workers are forked, so that they share what was read
        start = settings.seed + self._span.first
        seeds = start, start + STILL_SEED
        portions = Portions(*self._makers, self._sizes, settings.unroll.prompts, seeds, PORTIONS)
        return DataLoader(
            portions,
            batch_size=None,
            sampler=range(first, PORTIONS),
            num_workers=settings.workers,
            worker_init_fn=start_worker if settings.workers else None,
            prefetch_factor=4 if settings.workers else None,
        )

    def _take_in(self, portion: tuple[Rows, Rows]) -> None:
        for pool, rows in zip(self._pools, portion, strict=True):
            if rows:
                pool.put(rows)
