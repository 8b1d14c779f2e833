"""How values are rounded to 2^b codes. Each quantiser maps a tensor to the values that its codes stand for.

Sources: Q-TinySAM (in Shu et al., "TinySAM", arXiv:2312.13789, section 3.3), which takes `TwoRanges` and
`SplitSign` from PTQ4ViT (Yuan et al., arXiv:2111.12293); Lv et al., "PTQ4SAM", CVPR 2024 (`Log2`); Liu et
al., "PQ-SAM", ECCV 2024 (`Grouped`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

GELU_DEPTH = 0.17
"""No value of a GELU lies below minus this."""


class _Rounding(torch.autograd.Function):
    """Rounds, and lets gradients pass as though it did not (Bengio et al., arXiv:1308.3432)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def rounded(x: Tensor) -> Tensor:
    """The nearest whole numbers; where gradients are wanted, they pass straight through."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return x.round()
    out: Tensor = _Rounding.apply(x)
    return out


class Quantiser(nn.Module, ABC):
    """Rounds values.

    Args:
        bits: b; there are 2^b codes.
        **values: tensors by the names in `NAMES`; they broadcast against what is rounded.
    """

    KIND: ClassVar[str]
    """Its name in files of scales."""
    NAMES: ClassVar[tuple[str, ...]]
    """The tensors that say how it rounds."""
    POSITIVE: ClassVar[tuple[str, ...]] = ()
    """Those among them that must be above 0."""
    FLAGS: ClassVar[tuple[str, ...]] = ()
    """Those among them that are uint8, 0 or 1; others are float32."""
    LEARNED: ClassVar[str | None] = None
    """The one among them that gradients reach, and that no weight has taken over."""

    def __init__(self, bits: int, **values: Tensor) -> None:
        super().__init__()
        self.bits = bits
        for name in self.NAMES:
            self.register_buffer(name, values[name])

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """What the codes of `x` stand for, in the shape of `x`."""


class Uniform(Quantiser):
    """Equal steps: codes 0 to 2^b - 1 stand for (code - zero) · step."""

    KIND = "uniform"
    NAMES = ("step", "zero")
    POSITIVE = ("step",)
    LEARNED = "step"
    step: Tensor
    zero: Tensor
    """The code of 0, a whole number: 2^(b-1) for values of both signs."""

    def forward(self, x: Tensor) -> Tensor:
        code = (rounded(x / self.step) + self.zero).clamp(0, 2**self.bits - 1)
        return (code - self.zero) * self.step


def symmetric(bits: int, step: Tensor) -> Uniform:
    """Codes -2^(b-1) to 2^(b-1) - 1, counted from 0."""
    return Uniform(bits, step=step, zero=torch.tensor(2.0 ** (bits - 1)))


class UpOrDown(Quantiser):
    """Equal steps from 0 for one weight alone: it is known of each element whether it is rounded up or down.

    Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (ICML 2020,
    arXiv:2004.10568).
    """

    KIND = "up-or-down"
    NAMES = ("step", "up")
    POSITIVE = ("step",)
    FLAGS = ("up",)
    step: Tensor
    up: Tensor
    """uint8 in the shape of the weight: 1 where it is rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        half = 2 ** (self.bits - 1)
        return ((x / self.step).floor() + self.up).clamp(-half, half - 1) * self.step


class TwoRanges(Quantiser):
    """For what comes out of a softmax: small steps up to a cut, large ones from there to 1.

    One bit says which range it is; the others count its steps.
    """

    KIND = "two-ranges"
    NAMES = POSITIVE = ("cut",)
    LEARNED = "cut"
    cut: Tensor

    def forward(self, x: Tensor) -> Tensor:
        highest = 2 ** (self.bits - 1) - 1
        fine = self.cut / highest
        return torch.where(x <= self.cut, rounded(x / fine) * fine, rounded(x * highest) / highest)


class SplitSign(Quantiser):
    """For what comes out of a GELU: the shallow negative side has steps of its own."""

    KIND = "split-sign"
    NAMES = POSITIVE = ("step",)
    LEARNED = "step"
    step: Tensor

    def forward(self, x: Tensor) -> Tensor:
        half = 2 ** (self.bits - 1)
        small = GELU_DEPTH / half
        above = rounded(x / self.step).clamp(0, half - 1) * self.step
        below = rounded(x / small).clamp(-half, 0) * small
        return torch.where(x > 0, above, below)


class Log2(Quantiser):
    """For what comes out of a softmax: steps of equal ratio, 2^(1/tau); what is too small becomes 0."""

    KIND = "log2"
    NAMES = POSITIVE = ("scale", "tau")
    scale: Tensor
    """The largest value, code 0."""
    tau: Tensor
    """How many codes halve a value."""

    def forward(self, x: Tensor) -> Tensor:
        above_zero = (x / self.scale).clamp(min=torch.finfo(x.dtype).tiny)  # whose logarithm has a gradient
        code = rounded(-self.tau * torch.log2(above_zero)).clamp(min=0)
        value = self.scale * torch.exp2(-code / self.tau)
        return torch.where(code < 2**self.bits, value, 0)


class Grouped(Quantiser):
    """Groups of channels with a shift and a scale each; the channels are on the last axis.

    It returns (x - shift) / scale, rounded: the layer after it takes the shift and the scale into its weights
    (`folding.take_groups`).
    """

    KIND = "grouped"
    NAMES = ("shift", "scale", "step")
    POSITIVE = ("scale", "step")
    LEARNED = "step"
    shift: Tensor
    scale: Tensor
    step: Tensor

    def forward(self, x: Tensor) -> Tensor:
        half = 2 ** (self.bits - 1)
        code = rounded((x - self.shift) / self.scale / self.step).clamp(-half, half - 1)
        return code * self.step


QUANTISERS: dict[str, type[Quantiser]] = {
    kind.KIND: kind for kind in (Grouped, Log2, SplitSign, TwoRanges, Uniform, UpOrDown)
}
