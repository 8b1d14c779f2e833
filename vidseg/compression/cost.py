"""What a smaller model costs and brings: size, time of its parts, and how far its answers moved."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from vidseg.compression.calibration import Image
from vidseg.compression.calls import Call, outputs_of
from vidseg.eval.metrics import region_j
from vidseg.export.comparison import box_in, cosine
from vidseg.trackers.image.load import build_segmenter
from vidseg.trackers.options import TrackerOptions

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box

MOST_CALLS = 4
"""How many of the calls of a part are timed and compared."""
MOST_PICTURES = 8
"""Masks are compared on so many pictures, or fewer."""


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """What became of one part."""

    parameters_before: int
    parameters_after: int
    ms_before: float
    """The least time of a run by the clock, on the device in use."""
    ms_after: float
    cosine: float
    """The lowest cosine of a map with that of the original."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What became of the model."""

    parts: dict[str, PartCost]
    bytes_before: int
    """The size of all weights in float32."""
    bytes_after: int
    mask_iou: float
    """Mean IoU with the original's masks of what a box asks for."""
    pictures: int
    """How many pictures masks were compared on."""


def part_cost(before: nn.Module, after: nn.Module, calls: Sequence[Call]) -> PartCost:
    """Compare a part with its original on some of the calls."""
    calls = calls[:MOST_CALLS]
    cosines = [
        cosine(a.numpy(force=True), b.numpy(force=True))
        for call in calls
        for a, b in zip(_told(before, call), _told(after, call), strict=True)
    ]
    return PartCost(
        parameters_before=sum(weight.numel() for weight in before.parameters()),
        parameters_after=sum(weight.numel() for weight in after.parameters()),
        ms_before=milliseconds(before, calls),
        ms_after=milliseconds(after, calls),
        cosine=min(cosines),
    )


def milliseconds(part: nn.Module, calls: Sequence[Call]) -> float:
    """The least time of a call by the clock: other programs can only add to it."""
    times = []
    for call in (calls[0], *calls):  # the first run also warms up
        began = time.perf_counter()
        for out in _told(part, call):
            out.flatten()[0].item()  # a GPU is done when a value is there
        times.append(1000 * (time.perf_counter() - began))
    return min(times)


@torch.inference_mode()
def _told(part: nn.Module, call: Call) -> list[torch.Tensor]:
    return outputs_of(part, call)


def bytes_of(model: nn.Module) -> int:
    """The size of all weights in float32."""
    return 4 * sum(weight.numel() for weight in model.state_dict().values())


def mask_iou(asked: TrackerOptions, written: Path, pictures: Sequence[Image], box: Box | None) -> float:
    """Mean IoU of a written model's masks with the original's.

    Args:
        box: what is asked for on each picture; None: its middle.
    """
    pictures = pictures[:MOST_PICTURES]
    theirs = _masks(asked, pictures, box)
    changed = {"tracker": str(written), "weights": None, "allow_random_weights": False, "image_size": None}
    ours = _masks(asked.model_copy(update=changed), pictures, box)
    return float(np.mean([region_j(*pair) for pair in zip(ours, theirs, strict=True)]))


def _masks(asked: TrackerOptions, pictures: Sequence[Image], box: Box | None) -> list[np.ndarray]:
    segmenter = build_segmenter(asked)
    return [
        segmenter.embed(picture).segment(box=box_in(picture.shape, box), multimask=False)[0].mask
        for picture in pictures
    ]


def said(cost: Cost) -> str:
    """A report as lines for people."""
    lines = [f"{'part':<18}{'M weights':>10}{'after':>8}{'ms':>10}{'after':>8}{'cosine':>9}"]
    lines += [
        f"{name:<18}{part.parameters_before / 1e6:10.2f}{part.parameters_after / 1e6:8.2f}"
        f"{part.ms_before:10.1f}{part.ms_after:8.1f}{part.cosine:9.4f}"
        for name, part in cost.parts.items()
    ]
    return "\n".join(
        [
            *lines,
            f"weights: {cost.bytes_before / 1e6:.1f} MB before, {cost.bytes_after / 1e6:.1f} MB now",
            f"masks of {cost.pictures} pictures: mean IoU {cost.mask_iou:.4f} with the original",
        ]
    )
