"""What a calibrator decides, and the plain one: each operand is rounded with the least squared error."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vidseg.compression.low_bits.recording import AttentionSeen, LayerSeen
from vidseg.compression.low_bits.steps import (
    Bounds,
    all_but,
    best,
    squared_error,
    symmetric_over,
    uniform_over,
)
from vidseg.trackers.low_bits.layers import ATTENTION_OPERANDS
from vidseg.trackers.low_bits.quantisers import Quantiser
from vidseg.trackers.low_bits_settings import Bits

Chosen = dict[str, Quantiser]
"""Operand -> what rounds it."""


class Calibrator:
    """Chooses how the operands of layers and attention are rounded. Others override what they do otherwise.

    Weights have a step for each output channel, and so has what a depthwise convolution takes for each of its
    channels, as no sum mixes these; other operands have one step each, and a zero where they lie to one side.
    """

    needs_importance: ClassVar[bool] = False
    """Whether it reads how much each output matters, which takes a backward pass for each picture."""

    def __init__(self, bits: Bits) -> None:
        self.bits = bits

    def signs(self, seen: AttentionSeen) -> Tensor | None:
        """+1 or -1 for each head and channel by which queries and keys are multiplied before all else; None
        to leave them. It is asked where that changes no result."""
        return None

    def layer(self, seen: LayerSeen) -> Chosen:
        """What rounds `LAYER_OPERANDS`."""
        return {
            "input": (self.channels if seen.is_depthwise else self.tensor)(seen.x, seen.bounds),
            "weight": self.weight(seen.weight, seen.weight_axis),
        }

    def attention(self, seen: AttentionSeen) -> Chosen:
        """What rounds `ATTENTION_OPERANDS`."""
        return {
            operand: self.tensor(seen.all_of(operand), seen.bounds(operand)) for operand in ATTENTION_OPERANDS
        }

    def tensor(self, x: Tensor, bounds: Bounds | None = None) -> Quantiser:
        """One step for values that are not weights.

        Args:
            bounds: the least and the largest value, if `x` is not all of them.
        """
        ends = bounds or (x.min(), x.max())
        error = squared_error(torch.cat([x.flatten(), *(end[None] for end in ends)]))
        return best(uniform_over(ends, self.bits.activations), error, torch.ones_like(ends[0]))

    def channels(self, x_bchw: Tensor, bounds: Bounds) -> Quantiser:
        """A step for each channel, C x 1 x 1: what a depthwise convolution takes.

        Args:
            bounds: the least and the largest value of each channel, C x 1 x 1.
        """
        values_c1n = torch.cat([x_bchw.transpose(0, 1).flatten(1)[:, None], *bounds], dim=2)

        def error(quantiser: Quantiser) -> Tensor:
            return (quantiser(values_c1n) - values_c1n).square().sum(dim=2, keepdim=True)

        return best(uniform_over(bounds, self.bits.activations), error, torch.ones_like(bounds[0]))

    def weight(self, weight: Tensor, axis: int) -> Quantiser:
        """A step for each place of an axis."""
        highest = weight.abs().amax(dim=all_but(axis, weight), keepdim=True)
        return best(symmetric_over(highest, self.bits.weights), squared_error(weight, axis), highest)
