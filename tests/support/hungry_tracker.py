"""A plug-in: the kind of tracker `hungry`, which runs out of a GPU's memory as often as its YAML says."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from vidseg.testing import FakeSession, FakeTracker
from vidseg.trackers.contract import Frame, FrameResult
from vidseg.trackers.registry import register_tracker


class HungryTracker(FakeTracker):
    """The fake tracker with an appetite.

    Args:
        notes: a folder that gets a file each time memory runs out.
        times: how often it does.
    """

    def __init__(self, name: str, *, notes: str, times: int) -> None:
        super().__init__(name)
        self.notes = Path(notes)
        self.times = times

    def start(self, num_frames: int | None = None, reverse: bool = False) -> FakeSession:
        return self._hungry(super().start(num_frames, reverse))

    def restore(self, path: str | PathLike[str]) -> FakeSession:
        return self._hungry(super().restore(path))

    def _hungry(self, session: FakeSession) -> FakeSession:
        step = session.step

        def hungry_step(frame: Frame) -> FrameResult:
            so_far = len(list(self.notes.iterdir()))
            if frame.index == 10 and so_far < self.times:
                (self.notes / str(so_far)).touch()
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.")
            return step(frame)

        session.step = hungry_step  # type: ignore[method-assign]
        return session


def _build(name: str, config: Mapping[str, Any], options: object) -> HungryTracker:
    return HungryTracker(name, **config)


register_tracker("hungry", _build)
