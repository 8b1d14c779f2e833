"""Widths of a network: channels that can be removed, and every place in the weights that depends on them.

A width has units. One unit is what is kept or removed as a whole: a channel of the residual stream with its
entries in every weight that reads or writes it, or a hidden channel of a perceptron, or a channel of the
queries with the same one of keys and values.

Layouts in names: U units · P places of a unit along an axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["embedding", "bottleneck"]
"""'embedding': channels of the residual stream. 'bottleneck': channels inside attention or a perceptron."""


@dataclass(frozen=True)
class Use:
    """Where the units of a width lie in one weight."""

    weight: str
    axis: int
    places_up: Tensor | None = None
    """U x P: entries along the axis; None: unit u is entry u."""

    def places(self, units: Tensor) -> Tensor:
        """The entries of these units, in ascending order."""
        if self.places_up is None:
            return units
        return self.places_up[units].flatten().sort().values

    def sums(self, per_entry: Tensor, num_units: int) -> Tensor:
        """Values of entries along the axis, summed for each unit: U."""
        if self.places_up is None:
            return per_entry[:num_units]
        return per_entry[self.places_up].sum(dim=1)


@dataclass(frozen=True)
class Scaled:
    """Entries of a weight that are multiplied by (kept / all units) to a power when units are removed.

    Attention divides its logits by the root of a head's width. The weights of the queries make up for it, so
    that removing channels is the same as setting them to zero.
    """

    weight: str
    power: float
    first: int | None = None
    """Only the first so many rows; None: all."""


@dataclass(frozen=True)
class Width:
    """Channels of one kind in one place of a network."""

    kind: Kind
    setting: str
    """The name of the width in a YAML."""
    units: int
    uses: tuple[Use, ...]
    stage: int | None = None
    """Its place in the setting's list; None: the setting is one number for the whole part."""
    groups: int = 1
    """Units come in so many groups (heads) one after another, which keep equally many."""
    multiple: int = 1
    """How many units are kept is a multiple of this and of `groups`."""
    channels_per_unit: int = 1
    """How many channels in terms of the YAML a unit stands for."""
    scaled: tuple[Scaled, ...] = ()

    def count(self, share: float) -> int:
        """How many units stay when this share of them is removed.

        Rounded down as in SlimSAM, whose widths are multiples of the number of heads; at least one step.
        """
        step = math.lcm(self.groups, self.multiple)
        # A share such as 0.9 is not exact in binary: 0.1 of 120 channels are 12.
        return max(1, math.floor(self.units / step * (1 - share) + 1e-9)) * step

    def best(self, scores_u: Tensor, count: int) -> Tensor:
        """The `count` units with the highest scores, equally many in each group, in ascending order."""
        by_group = scores_u.view(self.groups, -1)
        best = by_group.topk(count // self.groups, dim=1).indices
        offsets = torch.arange(self.groups, device=best.device)[:, None] * by_group.shape[1]
        return (best + offsets).flatten().sort().values


def cut(state: Mapping[str, Tensor], widths: Sequence[Width], kept: Sequence[Tensor]) -> dict[str, Tensor]:
    """The weights without the units that are not kept.

    Args:
        kept: for each width, the numbers of its units that stay, in ascending order.
    """
    out = dict(state)
    for width, units in zip(widths, kept, strict=True):
        ratio = len(units) / width.units
        for scaled in width.scaled:
            whole = out[scaled.weight].clone()
            whole[: scaled.first] *= ratio**scaled.power
            out[scaled.weight] = whole
        for use in width.uses:
            whole = out[use.weight]
            out[use.weight] = whole.index_select(use.axis, use.places(units).to(whole.device))
    return out


def settings_of(widths: Sequence[Width], kept: Sequence[Tensor]) -> dict[str, int | list[int]]:
    """What a YAML says of these widths when these units are kept."""
    said: dict[str, int | list[int]] = {}
    stages: dict[str, dict[int, int]] = {}
    for width, units in zip(widths, kept, strict=True):
        channels = len(units) * width.channels_per_unit
        if width.stage is None:
            said[width.setting] = channels
        else:
            stages.setdefault(width.setting, {})[width.stage] = channels
    return said | {name: [each[stage] for stage in sorted(each)] for name, each in stages.items()}
