"""Writes what a way of compressing made, and what it cost; the folder appears when it is whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from vidseg.compression.calibration import Image
from vidseg.compression.calls import Call
from vidseg.compression.cost import MOST_PICTURES, Cost, bytes_of, mask_iou, part_cost
from vidseg.compression.source import YAML, Entries, Source
from vidseg.pipeline.atomic import replacing, write_json
from vidseg.trackers.options import TrackerOptions

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box


def write_result(
    out: Path,
    source: Source,
    model: nn.Module,
    entries: Entries,
    *,
    asked: TrackerOptions,
    calls: Mapping[str, Sequence[Call]],
    pictures: Sequence[Image],
    box: Box | None,
    report: str,
    facts: Mapping[str, Any],
) -> Cost:
    """Write a model: `tracker.yaml`, `weights.safetensors`, and a report.

    Args:
        model: made by `source.built(entries, ...)`.
        asked: the options that chose the original.
        calls: for each part that changed what it takes on the calibration pictures.
        box: what masks are compared of; None: the middle of each picture.
        report: name of the file of the report.
        facts: what it holds besides the cost.
    """
    with replacing(out) as folder:
        folder.mkdir()
        source.write(folder, entries, model)
        cost = Cost(
            parts={
                name: part_cost(source.model.get_submodule(name), model.get_submodule(name), own)
                for name, own in calls.items()
            },
            bytes_before=bytes_of(source.model),
            bytes_after=bytes_of(model),
            mask_iou=mask_iou(asked, folder / YAML, pictures, box),
            pictures=min(len(pictures), MOST_PICTURES),
        )
        write_json(folder / report, {**facts, **asdict(cost)})
    return cost
