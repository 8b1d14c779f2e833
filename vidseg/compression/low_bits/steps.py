"""The search for steps: from coarse to fine, for each channel by itself where there are several."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from vidseg.trackers.low_bits.quantisers import Quantiser, Uniform, symmetric

COARSE = tuple(2.0 ** (-half / 2) for half in range(11))
"""First a share of the whole range is looked for among these: down to 1/32."""
FINE = (2.0**0.25, 2.0**0.125)
"""Then the share is multiplied and divided by these, one after another."""
SMALLEST = 1e-10
"""The smallest range: what is all zero needs a step, too."""

Made = TypeVar("Made", bound=Quantiser)


def best(make: Callable[[Tensor], Made], error: Callable[[Made], Tensor], like: Tensor) -> Made:
    """The quantiser of the lowest error.

    Args:
        make: from the share of the whole range that codes reach, in the shape of `like`.
        error: in that shape, too: each of several channels has a share of its own.
    """
    shares = torch.ones_like(like)
    lowest = error(make(shares))

    def attempt(tried: Tensor) -> None:
        nonlocal shares, lowest
        found = error(make(tried))
        is_better = found < lowest
        shares, lowest = torch.where(is_better, tried, shares), torch.where(is_better, found, lowest)

    for share in COARSE[1:]:
        attempt(torch.full_like(like, share))
    for factor in FINE:
        centre = shares
        attempt(centre * factor)
        attempt(centre / factor)
    return make(shares)


Bounds = tuple[Tensor, Tensor]
"""The least and the largest value."""


def uniform_over(bounds: Bounds, bits: int) -> Callable[[Tensor], Uniform]:
    """Makes `Uniform` codes for a share of a range, which may lie on one side of 0 alone."""
    low, high = bounds[0].clamp(max=0), bounds[1].clamp(min=0)
    span = (high - low).clamp(min=SMALLEST)

    def make(share: Tensor) -> Uniform:
        step = share * span / (2**bits - 1)
        return Uniform(bits, step=step, zero=(-low * share / step).round())

    return make


def symmetric_over(highest: Tensor, bits: int) -> Callable[[Tensor], Uniform]:
    """Makes `symmetric` codes for a share of the largest magnitude: a number, or one for each channel."""
    whole = highest.clamp(min=SMALLEST) / (2 ** (bits - 1) - 1)
    return lambda share: symmetric(bits, whole * share)


def all_but(axis: int, x: Tensor) -> list[int]:
    """All axes but one."""
    return [other for other in range(x.dim()) if other != axis]


def squared_error(x: Tensor, axis: int | None = None) -> Callable[[Quantiser], Tensor]:
    """Sums the squares of what rounding changes; on each place of an axis, if one is given."""

    def error(quantiser: Quantiser) -> Tensor:
        squares = (quantiser(x) - x).square()
        if axis is None:
            return squares.sum()
        return squares.sum(dim=all_but(axis, x), keepdim=True)

    return error
