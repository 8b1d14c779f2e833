"""A pool of clips on the device: those that are made come in, the oldest go, and steps draw from it.

A clip may be drawn several times; each time it is mirrored or not, and has other colours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vidseg.training.lockstep.prepared import Rows

GAIN, TINT, LIFT = 0.15, 0.06, 8.0
"""Standard deviations of the changes of colour: of the logarithms of brightness and of each channel's factor,
and of what is added, in levels of 255."""


class Pool:
    """Up to `capacity` rows; new ones replace the oldest."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity = capacity
        self.device = device
        self.size = 0
        self.taken_in = 0
        """How many rows have come in so far."""
        self._kept: Rows = {}

    def skip(self, count: int) -> None:
        """Have the next rows come to where they would be if others had come in before; a new pool's."""
        self.taken_in = count

    def put(self, rows: Rows) -> None:
        """Take in rows; all calls bring rows of one kind."""
        count = len(rows["images"])
        places = (torch.arange(count) + self.taken_in) % self.capacity
        places = places.to(self.device)
        for name, value in rows.items():
            if name not in self._kept:
                shape = (self.capacity, *value.shape[1:])
                self._kept[name] = torch.empty(shape, dtype=value.dtype, device=self.device)
            self._kept[name].index_copy_(0, places, value.to(self.device))
        self.taken_in += count
        self.size = min(self.capacity, self.taken_in)

    def draw(self, count: int, generator: torch.Generator) -> Rows:
        """Rows at random, each at most once unless there are too few, in a random look.

        Args:
            generator: of the pool's device.
        """
        drawn: Any = {"device": self.device, "generator": generator}
        if self.size >= count:
            index = torch.randperm(self.size, **drawn)[:count]
        else:
            index = torch.randint(self.size, (count,), **drawn)
        rows = {name: value[index] for name, value in self._kept.items()}
        return coloured(mirrored(rows, torch.rand(count, **drawn) < 0.5), generator)


def mirrored(rows: Rows, is_mirrored_b: Tensor) -> Rows:
    """Some of the rows with left and right exchanged."""
    out = {}
    for name, value in rows.items():
        other = value.flip(-1)
        if name == "flows":
            other = torch.stack((-other[:, :, 0], other[:, :, 1]), dim=2)
        out[name] = torch.where(is_mirrored_b.view(-1, *[1] * (value.dim() - 1)), other, value)
    return out


def coloured(rows: Rows, generator: torch.Generator) -> Rows:
    """The rows with random brightness and tint, the same on all frames of a row."""
    images = rows["images"]

    def drawn(channels: int) -> Tensor:
        return torch.randn(len(images), 1, channels, 1, 1, device=images.device, generator=generator)

    gains = (GAIN * drawn(1) + TINT * drawn(3)).exp()
    changed = (images * gains + LIFT * drawn(1)).clamp(0, 255).round().to(torch.uint8)
    return {**rows, "images": changed}
