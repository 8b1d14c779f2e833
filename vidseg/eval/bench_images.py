"""Speed, memory and size of image models on pictures, side by side on one machine.

The rows are those of the survey of SAM's efficient variants (Sun et al., arXiv:2410.04960, tables 2 and 3):
parameters and operations; the time of encoding a picture, of one prompt, and of up to 50 boxes on it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from vidseg.eval.bench import now_ms
from vidseg.eval.images.published import published_of
from vidseg.eval.operations import counter, without_attention
from vidseg.eval.turns import Failure, in_turns
from vidseg.pipeline.machine import machine, peak_memory_bytes, versions
from vidseg.trackers.options import TrackerOptions

if TYPE_CHECKING:
    from vidseg.trackers.image.embedding import Embedding

BOXES = tuple(range(10, 51, 10))
"""How many boxes are asked of a picture, one after the other, in the survey's table 3."""


@dataclass(frozen=True, kw_only=True)
class ImageBenchOptions:
    """How image models are measured, and on what."""

    pictures: int = 8
    """How many pictures of each model are measured, one a turn."""
    size_hw: tuple[int, int] = (480, 640)
    """The pictures' height and width; most of COCO's have this size."""
    threads: int | None = None
    """How many threads a model computes with; None: as many as torch takes."""


@dataclass(kw_only=True)
class ImageMeasured:
    """The measurements of one image model; times are medians in milliseconds."""

    name: str
    parameters: int
    weight_bytes: int
    gflops_encoder: float
    """Operations of encoding one picture, 10^9, with the products of attention."""
    gflops_decoder: float
    """Operations of answering one box."""
    gflops_survey: float
    """Operations of both as the survey counts them: without the products of attention."""
    encoder_ms: float
    decoder_ms: float
    """Time of one box, with its mask at the picture's size."""
    encoder_cpu_ms: float
    """CPU time of all threads, which other programs on the machine change less than the time by the clock."""
    decoder_cpu_ms: float
    boxes_ms: dict[int, float]
    """Number of boxes -> time of encoding a picture and of these boxes, asked one after the other."""
    peak_memory_bytes: dict[str, int]
    published: dict[str, float]
    """The survey's figures of the model, on its own machine; see `vidseg.eval.images.published`."""


def bench_images(
    choices: Sequence[TrackerOptions],
    options: ImageBenchOptions | None = None,
    *,
    on_failure: Callable[[Failure], object] | None = None,
) -> list[ImageMeasured]:
    """Measure image models in turns of one picture.

    Args:
        on_failure: see `in_turns`.

    Raises:
        InputError: a model cannot be loaded, or segments no pictures.
        RunError: a model's process ended.
    """
    options = options or ImageBenchOptions()
    return in_turns(partial(_Subject, options=options), choices, [1] * options.pictures, on_failure)


class _Subject:
    def __init__(self, choice: TrackerOptions, *, options: ImageBenchOptions) -> None:
        import torch

        from vidseg.pipeline.made_video import MadeVideo
        from vidseg.trackers.image.load import build_segmenter
        from vidseg.trackers.model import module_of

        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self.segmenter = build_segmenter(choice)
        self.module = module_of(self.segmenter.model).requires_grad_(False)
        video = MadeVideo(num_frames=options.pictures + 1, size_hw=options.size_hw)
        self.pictures = iter([frame.image for frame, _ in video if frame.image is not None])
        self.boxes = _boxes(options.size_hw)
        self.encoder_ms: list[float] = []
        self.boxes_ms: list[list[float]] = []
        self.encoder_cpu_ms: list[float] = []
        self.decoder_cpu_ms: list[float] = []
        self._count()

    def run(self, count: int) -> None:
        for _ in range(count):
            began, began_cpu = now_ms(), time.process_time()
            embedding = self.segmenter.embed(next(self.pictures))
            encoded, encoded_cpu = now_ms(), time.process_time()
            self.encoder_ms.append(encoded - began)
            self.encoder_cpu_ms.append(1000 * (encoded_cpu - began_cpu))
            self.boxes_ms.append([_ms(embedding, box) for box in self.boxes])
            self.decoder_cpu_ms.append(1000 * (time.process_time() - encoded_cpu) / len(self.boxes))

    def measured(self) -> ImageMeasured:
        weights = list(self.module.parameters())
        each = [ms for picture in self.boxes_ms for ms in picture]
        totals = {
            count: statistics.median(
                encoder + sum(picture[:count])
                for encoder, picture in zip(self.encoder_ms, self.boxes_ms, strict=True)
            )
            for count in BOXES
        }
        return ImageMeasured(
            name=self.segmenter.name,
            parameters=sum(p.numel() for p in weights),
            weight_bytes=sum(p.numel() * p.element_size() for p in weights),
            gflops_encoder=self.counts[0] / 1e9,
            gflops_decoder=self.counts[1] / 1e9,
            gflops_survey=self.counts[2] / 1e9,
            encoder_ms=statistics.median(self.encoder_ms),
            decoder_ms=statistics.median(each),
            encoder_cpu_ms=statistics.median(self.encoder_cpu_ms),
            decoder_cpu_ms=statistics.median(self.decoder_cpu_ms),
            boxes_ms=totals,
            peak_memory_bytes=peak_memory_bytes(),
            published=published_of(self.segmenter.name),
        )

    def _count(self) -> None:
        """Count operations on the first picture, which also warms up."""
        with counter() as encoding:
            embedding = self.segmenter.embed(next(self.pictures))
        with counter() as decoding:
            _ms(embedding, self.boxes[0])
        self.counts = (
            encoding.get_total_flops(),
            decoding.get_total_flops(),
            without_attention(encoding) + without_attention(decoding),
        )


def _ms(embedding: Embedding, box: Sequence[float]) -> float:
    began = time.perf_counter()
    embedding.segment(box=box, multimask=False)
    return 1000 * (time.perf_counter() - began)


def _boxes(size_hw: tuple[int, int]) -> list[list[float]]:
    """The same boxes for every picture: a grid of 10 by 5, each as large as two cells."""
    height, width = size_hw
    cell_w, cell_h = width / 10, height / 5
    return [
        [
            max((x - 0.5) * cell_w, 0),
            max((y - 0.5) * cell_h, 0),
            min((x + 1.5) * cell_w, width),
            min((y + 1.5) * cell_h, height),
        ]
        for y in range(5)
        for x in range(10)
    ]


def efficiency(rows: Sequence[ImageMeasured], reference: str | None = None) -> dict[str, float | None]:
    """Name -> EER: the mean of parameters, operations and bytes of weights, each divided by the reference's.

    Args:
        reference: a measured model; None: `sam-vit-h` if it is there, else the first one. Where it was not
            measured, no model has an EER.
    """
    names = [row.name for row in rows]
    reference = reference or ("sam-vit-h" if "sam-vit-h" in names else names[0])
    if reference not in names:
        return dict.fromkeys(names)
    base = _costs(rows[names.index(reference)])
    return {
        row.name: statistics.mean(cost / of_base for cost, of_base in zip(_costs(row), base, strict=True))
        for row in rows
    }


def _costs(row: ImageMeasured) -> tuple[float, float, float]:
    return row.parameters, row.gflops_encoder + row.gflops_decoder, row.weight_bytes


def as_document(
    rows: Sequence[ImageMeasured], options: ImageBenchOptions, reference: str | None
) -> dict[str, Any]:
    """The measurements as JSON values."""
    eer = efficiency(rows, reference)
    return {
        "machine": machine(),
        "versions": versions(),
        "settings": asdict(options),
        "models": [{**asdict(row), "eer": eer[row.name]} for row in rows],
    }


def size_table(rows: Sequence[ImageMeasured], reference: str | None) -> str:
    """Parameters, operations and memory: the survey's table 2."""
    eer = efficiency(rows, reference)
    head = f"{'params M':>9} {'GFLOPs':>9} {'as survey':>9} {'weights MB':>10} {'peak MiB':>9} {'EER':>6}"
    lines = []
    for row in rows:
        peak = row.peak_memory_bytes.get("gpu", row.peak_memory_bytes.get("host", 0)) / 2**20
        gflops = row.gflops_encoder + row.gflops_decoder
        ratio = eer[row.name]
        lines.append(
            f"{row.parameters / 1e6:9.2f} {gflops:9.1f} {row.gflops_survey:9.1f} "
            f"{row.weight_bytes / 1e6:10.1f} {peak:9.0f} {'-' if ratio is None else f'{ratio:.3f}':>6}"
        )
    return _joined(rows, head, lines, ("parameters_m", "gflops"))


def time_table(rows: Sequence[ImageMeasured]) -> str:
    """Milliseconds: the survey's table 3."""
    head = f"{'encoder':>9} {'one box':>9}" + "".join(f" {f'{n} boxes':>9}" for n in BOXES) + f" {'img/s':>7}"
    lines = [
        f"{row.encoder_ms:9.1f} {row.decoder_ms:9.2f}"
        + "".join(f" {row.boxes_ms[n]:9.1f}" for n in BOXES)
        + f" {1000 / (row.encoder_ms + row.decoder_ms):7.2f}"
        for row in rows
    ]
    return _joined(rows, head, lines, ("gpu_ms", "cpu_ms", "images_per_second"))


def _joined(rows: Sequence[ImageMeasured], head: str, lines: Sequence[str], keys: Sequence[str]) -> str:
    """A table for terminals, the survey's own figures at the end of each line."""
    width = max(8, *(len(row.name) for row in rows))
    text = [f"{'model':<{width}} {head}  published"]
    for row, line in zip(rows, lines, strict=True):
        known = ", ".join(f"{key} {row.published[key]:g}" for key in keys if key in row.published)
        text.append(f"{row.name:<{width}} {line}  {known or '-'}")
    return "\n".join(text)
