"""A format: the area of every object in sight, a line for each frame and object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vidseg import register_writer
from vidseg.pipeline.formats import ExportFormat

if TYPE_CHECKING:
    from vidseg.pipeline.writers import Masklets


def write_areas(path: Path, masklets: Masklets) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for line in masklets:
            for item in line.objects:
                if item.area:
                    file.write(f"{line.frame},{item.id},{item.area}\n")


register_writer("outside-areas", ExportFormat("masklets.areas.csv", write_areas))
