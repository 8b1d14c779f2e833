"""The time of finding everything in a picture, by model and sampler, side by side on one machine.

The rows are those of the survey of SAM's efficient variants (Sun et al., arXiv:2410.04960, table 4).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from vidseg.eval.bench import now_ms
from vidseg.eval.bench_images import ImageBenchOptions
from vidseg.eval.images.published import published_of
from vidseg.eval.turns import Failure, in_turns
from vidseg.pipeline.machine import machine, versions
from vidseg.trackers.options import TrackerOptions

SAMPLERS = ("grid", "two-round")


@dataclass(kw_only=True)
class SamplerMeasured:
    """The measurements of one sampler; means over pictures."""

    ms: float
    """Milliseconds of encoding a picture and of finding everything in it."""
    prompts: float
    """Prompts that the decoder answered for a picture."""
    masks: float
    """Masks that were found in a picture."""


@dataclass(kw_only=True)
class EverythingMeasured:
    """The measurements of one image model."""

    name: str
    samplers: dict[str, SamplerMeasured]
    published: dict[str, float]
    """The survey's figures of the model, on its own machine."""


def bench_everything(
    choices: Sequence[TrackerOptions],
    options: ImageBenchOptions | None = None,
    *,
    points_per_side: int = 32,
    on_failure: Callable[[Failure], object] | None = None,
) -> list[EverythingMeasured]:
    """Measure image models in turns of one picture.

    Args:
        on_failure: see `in_turns`.

    Raises:
        InputError: a model cannot be loaded, or segments no pictures.
        RunError: a model's process ended.
    """
    options = options or ImageBenchOptions()
    make = partial(_Subject, options=options, points_per_side=points_per_side)
    return in_turns(make, choices, [1] * options.pictures, on_failure)


class _Subject:
    def __init__(self, choice: TrackerOptions, *, options: ImageBenchOptions, points_per_side: int) -> None:
        import torch

        from vidseg.pipeline.made_video import MadeVideo
        from vidseg.trackers.image.load import build_segmenter

        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self.segmenter = build_segmenter(choice)
        self.points_per_side = points_per_side
        video = MadeVideo(num_frames=options.pictures + 1, size_hw=options.size_hw)
        self.pictures = iter([frame.image for frame, _ in video if frame.image is not None])
        self.seen: dict[str, list[tuple[float, int, int]]] = {name: [] for name in SAMPLERS}
        self.segmenter.embed(next(self.pictures)).everything(points_per_side=4)  # to warm up

    def run(self, count: int) -> None:
        for _ in range(count):
            picture = next(self.pictures)
            for sampler, seen in self.seen.items():
                began = now_ms()
                embedding = self.segmenter.embed(picture)
                found, asked = embedding.everything_asked(sampler, points_per_side=self.points_per_side)
                seen.append((now_ms() - began, asked, len(found)))

    def measured(self) -> EverythingMeasured:
        samplers = {}
        for name, seen in self.seen.items():
            ms, prompts, masks = (statistics.mean(column) for column in zip(*seen, strict=True))
            samplers[name] = SamplerMeasured(ms=ms, prompts=prompts, masks=masks)
        return EverythingMeasured(
            name=self.segmenter.name, samplers=samplers, published=published_of(self.segmenter.name)
        )


def as_document(
    rows: Sequence[EverythingMeasured], options: ImageBenchOptions, points_per_side: int
) -> dict[str, Any]:
    """The measurements as JSON values."""
    return {
        "machine": machine(),
        "versions": versions(),
        "settings": {**asdict(options), "points_per_side": points_per_side},
        "models": [asdict(row) for row in rows],
    }


def everything_table(rows: Sequence[EverythingMeasured]) -> str:
    """Milliseconds, prompts and masks for each sampler; the survey's own figure at the end of a line."""
    width = max(8, *(len(row.name) for row in rows))
    lines = [f"{'model':<{width}} {'sampler':<10} {'ms':>9} {'prompts':>8} {'masks':>7}  published"]
    for row in rows:
        known = row.published.get("everything_ms")
        for sampler, of in row.samplers.items():
            figures = f"{of.ms:9.0f} {of.prompts:8.0f} {of.masks:7.1f}"
            told = "-" if known is None else f"everything_ms {known:g}"
            lines.append(f"{row.name:<{width}} {sampler:<10} {figures}  {told}")
    return "\n".join(lines)
