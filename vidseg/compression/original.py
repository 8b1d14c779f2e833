"""The model to make smaller with its pictures, and the folder that the smaller one is written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from vidseg.compression.calibration import Image, calls_of, read_pictures
from vidseg.compression.calls import Call
from vidseg.compression.cost import MOST_PICTURES, Cost, bytes_of, mask_iou, part_cost
from vidseg.compression.kept import Kept
from vidseg.compression.source import YAML, Entries, Source
from vidseg.export.comparison import box_in
from vidseg.pipeline.atomic import replacing, write_json
from vidseg.trackers.options import TrackerOptions

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box


@dataclass(frozen=True, kw_only=True)
class Original:
    """The model to make smaller, and the pictures that the smaller one is fitted to and judged on."""

    asked: TrackerOptions
    """What chose the model; in float32."""
    source: Source
    pictures: Sequence[Image]
    box: Box | None
    """An object of the pictures, in pixels, of which masks are compared; None: their middle."""

    @classmethod
    def of(cls, asked: TrackerOptions, calibrate: Path | None, frames: int, box: Box | None) -> Original:
        """Read the pictures, and load the model.

        Args:
            calibrate: a folder of pictures, or a video; None: see `read_pictures`.
            frames: how many pictures are seen.

        Raises:
            InputError, SourceError, DecodeError: the pictures cannot be read.
            PromptError: the box lies outside one of those that masks are compared on.
            ConfigError: the model is unknown, or one that cannot be cut.
            CheckpointError: its weights are missing or do not fit.
        """
        pictures = read_pictures(calibrate, frames)
        for picture in pictures[:MOST_PICTURES]:
            box_in(picture.shape, box)
        asked = asked.model_copy(update={"dtype": "float32"})
        return cls(asked=asked, source=Source.of(asked), pictures=pictures, box=box)

    def calls_of(self, part: str) -> Sequence[Call]:
        """What a part takes on the pictures; see `calibration.calls_of`."""
        return calls_of(part, self.asked, self.pictures, self.box)

    def kept(self, out: Path, **asked: Any) -> Kept:
        """What an earlier call kept of the same work, towards the same folder.

        Args:
            asked: what decides what comes out, besides the model, the pictures and the box.
        """
        weights = self.source.model.state_dict()
        return Kept.of(out, self.source.config, weights, self.pictures, self.box, **asked)

    def write_smaller(
        self,
        out: Path,
        model: nn.Module,
        entries: Entries,
        *,
        calls: Mapping[str, Sequence[Call]],
        report: str,
        facts: Mapping[str, Any],
    ) -> Cost:
        """Write a smaller model: `tracker.yaml`, `weights.safetensors`, and a report. The folder appears when
        it is whole.

        Args:
            model: made by `source.built(entries, ...)`.
            calls: for each part that changed what it takes on the pictures.
            report: name of the file of the report.
            facts: what the report holds besides the cost.
        """
        with replacing(out) as folder:
            folder.mkdir()
            self.source.write(folder, entries, model)
            cost = Cost(
                parts={
                    name: part_cost(self.source.model.get_submodule(name), model.get_submodule(name), own)
                    for name, own in calls.items()
                },
                bytes_before=bytes_of(self.source.model),
                bytes_after=bytes_of(model),
                mask_iou=mask_iou(self.asked, folder / YAML, self.pictures, self.box),
                pictures=min(len(self.pictures), MOST_PICTURES),
            )
            write_json(folder / report, {**facts, **asdict(cost)})
        return cost
