"""The model to quantise, in the form that it computes in, and what sets it to work on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from vidseg.compression.low_bits.pictures import Prompted, answers, importance
from vidseg.compression.low_bits.recording import Run
from vidseg.compression.source import Source
from vidseg.errors import ConfigError, InputError
from vidseg.memory.bank import BankPolicy
from vidseg.trackers.contract import Frame
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.image.build import build_framing
from vidseg.trackers.image.load import segmenter_of
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.model import ImageModel, MemoryModel
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.parts import BANK_POLICIES, build_part
from vidseg.trackers.settings import EngineSettings

if TYPE_CHECKING:
    from vidseg.trackers.image_settings import ImageSettings


@dataclass(frozen=True)
class Subject:
    """A model with weights, fused, and what it came from."""

    source: Source
    segmenter: ImageSegmenter
    state: dict[str, Tensor]
    """The weights of the model before it was fused, under our names."""
    tracker: EngineTracker | None
    """Follows videos with the model; None for a model of pictures."""

    @property
    def module(self) -> nn.Module:
        return self.source.model

    @classmethod
    def of(cls, asked: TrackerOptions) -> Subject:
        """The model that options ask for, on the CPU.

        Raises:
            ConfigError: it is unknown, or one that cannot be quantised.
            CheckpointError: its weights are missing or do not fit.
        """
        source = Source.of(asked.model_copy(update={"device": "cpu"}))
        settings = source.settings
        if isinstance(settings, EngineSettings) and not hasattr(source.model, "low_bit_parts"):
            raise ConfigError(
                "few bits are for image models, and for vidseg-nano",
                where=source.where,
                hint="mobile-sam, tiny-sam, sam-vit-b, ...; or --int8",
            )
        state = {key: value.clone() for key, value in source.model.state_dict().items()}
        cast(ImageModel, source.model).fuse()
        source.model.requires_grad_(False)
        if isinstance(settings, EngineSettings):
            tracker = _tracker(source, settings, asked)
            return cls(source, segmenter_of(tracker), state, tracker)
        return cls(source, _segmenter(source, settings), state, None)

    def runs(self, pictures: Sequence[Prompted], *, with_importance: bool) -> list[Run]:
        """What sets the model to work on the pictures: as single ones with their prompts, or, for a tracker,
        as the frames of a clip whose object is followed from its box. The whole picture is seen: which part a
        close-up shows depends on masks, and blocks are compared call by call with and without rounding.

        Args:
            with_importance: whether the numbers that runs return are needed, see `recorded`.

        Raises:
            ConfigError: they are, of a tracker.
            InputError: a tracker's frames differ in size.
        """
        if self.tracker is None:
            return [partial(self._answer, picture) for picture in pictures]
        if with_importance:
            raise ConfigError(
                "the calibrator needs gradients, which tracking does not leave",
                where=self.source.where,
                hint="--calibrator plain",
            )
        if len({picture.image.shape for picture in pictures}) > 1:
            raise InputError("the frames differ in size", where="--calibrate", hint="give a video")
        return [partial(self._follow, pictures)]

    def _answer(self, picture: Prompted) -> Tensor:
        found = answers(self.segmenter.model, self.segmenter.framing, picture)
        return torch.stack([importance(each) for each in found]).sum()

    def _follow(self, pictures: Sequence[Prompted]) -> Tensor:
        assert self.tracker is not None
        session = self.tracker.start(num_frames=len(pictures), keep_all=True)
        session.prompt(1, **pictures[0].prompts[0])
        for index, picture in enumerate(pictures):
            session.step(Frame(index, float(index), picture.image))
        return torch.zeros(())


def _segmenter(source: Source, settings: ImageSettings) -> ImageSegmenter:
    framing = build_framing(settings, source.where)
    return ImageSegmenter("float32", cast(ImageModel, source.model), framing)


def _tracker(source: Source, settings: EngineSettings, asked: TrackerOptions) -> EngineTracker:
    policy: BankPolicy = build_part(BANK_POLICIES, "bank", settings.bank, source.where)
    model = cast(MemoryModel, source.model)
    return EngineTracker.around(source.name, settings, model, policy, asked, None)
