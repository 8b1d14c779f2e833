"""What the parts of a model take while it works on pictures or frames like those to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidseg.compression.calls import Call
from vidseg.errors import ConfigError, InputError
from vidseg.export.comparison import box_in
from vidseg.pipeline.made_video import MadeVideo
from vidseg.pipeline.read import read
from vidseg.pipeline.read.folder import IMAGE_SUFFIXES
from vidseg.pipeline.stills.pictures import Picture, list_pictures
from vidseg.trackers.contract import Frame
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.image.load import build_segmenter
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.registry import build_tracker

if TYPE_CHECKING:
    from vidseg.trackers.contract import Box

Image = npt.NDArray[np.uint8]
"""H x W x 3, RGB."""


class _Files(Sequence[Image]):
    """Pictures that are read whenever they are asked for, as thousands would not fit into memory."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    @overload
    def __getitem__(self, place: int) -> Image: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Image]: ...
    def __getitem__(self, place: int | slice) -> Image | Sequence[Image]:
        if isinstance(place, slice):
            return _Files(self._pictures[place])
        return self._pictures[place].read()


class _EncoderCalls(Sequence[Call]):
    """What an image encoder takes of pictures."""

    def __init__(self, segmenter: ImageSegmenter, pictures: Sequence[Image]) -> None:
        self._framing, self._device, self._pictures = segmenter.framing, segmenter.device, pictures

    def __len__(self) -> int:
        return len(self._pictures)

    @overload
    def __getitem__(self, place: int) -> Call: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Call]: ...
    def __getitem__(self, place: int | slice) -> Call | Sequence[Call]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        return (self._framing.model_input(self._pictures[place], self._device)[None],)


def read_pictures(source: Path | None, count: int) -> Sequence[Image]:
    """Pictures of a folder, spread over it, or the first frames of a video.

    Args:
        source: the folder or the video; None: frames of the video that `vidseg demo` draws, spread over it.

    Raises:
        SourceError, DecodeError: the source or one of the pictures cannot be read.
        InputError: `count` is not positive.
    """
    if count < 1:
        raise InputError(f"--frames {count}", hint="give at least 1")
    if source is None:
        made = MadeVideo()
        wanted = set(np.linspace(0, made.num_frames - 1, min(count, made.num_frames)).round().astype(int))
        return [frame.image for frame, _ in made if frame.index in wanted and frame.image is not None]
    if source.is_dir() or source.suffix.lower() in IMAGE_SUFFIXES:
        pictures = list_pictures(source)
        places = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)
        files = _Files([pictures[place] for place in places])
        for _ in files:  # a picture that cannot be read is told of before hours of work
            pass
        return files
    with read(source, end=count, keep_decoded=False) as frames:
        return [frame.image for frame in frames if frame.image is not None]


def calls_of(
    part: str, asked: TrackerOptions, pictures: Sequence[Image], box: Box | None = None
) -> Sequence[Call]:
    """What a part takes on these pictures, free of inference mode.

    Args:
        part: 'image_encoder', or 'memory_attention'.
        box: the object on the first picture that memory attention follows; None: its middle.

    Raises:
        ConfigError: the model has no memory.
        InputError: frames for the memory differ in size, or there is only one.
    """
    if part == "memory_attention":
        return _memory_calls(asked, pictures, box)
    return _EncoderCalls(build_segmenter(asked), pictures)


def _memory_calls(asked: TrackerOptions, pictures: Sequence[Image], box: Box | None) -> list[Call]:
    if len(pictures) < 2 or len({picture.shape for picture in pictures}) > 1:
        raise InputError(
            "memory attention is calibrated by two frames or more of one size",
            where="--calibrate",
            hint="give a video",
        )
    tracker = build_tracker(asked)
    if not isinstance(tracker, EngineTracker):
        raise ConfigError(f"the model '{tracker.name}' has no memory", where="--parts")
    calls: list[Call] = []
    attention = tracker.engine.model.get_submodule("memory_attention")  # type: ignore[attr-defined]
    hook = attention.register_forward_pre_hook(lambda module, given: calls.append(given))
    session = tracker.start(num_frames=len(pictures))
    session.prompt(1, box=box_in(pictures[0].shape, box))
    for index, picture in enumerate(pictures):
        session.step(Frame(index, float(index), picture))
    hook.remove()
    return [tuple(free(argument) for argument in call) for call in calls]


def free(value: Any) -> Any:
    """A copy of tensors, alone or in a dataclass, that may take part in computing gradients."""
    if isinstance(value, Tensor):
        with torch.inference_mode(False):
            return value.clone()
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: free(getattr(value, each.name)) for each in fields(value)})
    return value
