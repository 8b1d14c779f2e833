"""PTQ4SAM's calibrator: keys with two peaks are folded to one side; softmax gets steps of equal ratio.

Source: Lv et al., "PTQ4SAM: Post-Training Quantization for Segment Anything", CVPR 2024, sections 3.2 and
3.3. Its reconstruction of blocks is in `reconstruction`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vidseg.compression.low_bits.calibrator import Calibrator, Chosen
from vidseg.compression.low_bits.recording import AttentionSeen
from vidseg.trackers.low_bits.quantisers import Log2

POINTS = 128
"""At how many places the density of keys is estimated."""
APART = 32
"""Peaks must be this many places apart."""
HIGH = 0.01
"""A peak must have this share of the sum of all densities."""
MOST_VALUES = 4096
"""From how many values a density is estimated."""
TAUS = (1, 2, 4)
"""How many codes may halve a value; with more than 8 bits, twice as many for each further bit."""
OCTAVES = 3.0
"""How far below the largest value the scale is sought, in powers of two."""
GOLDEN = (math.sqrt(5) - 1) / 2
SECTIONS = 8
"""How often the interval of the scale is cut; that leaves 2 % of it."""


class Ptq4Sam(Calibrator):
    """Bimodal integration of keys, and adaptive logarithmic steps after a softmax."""

    def signs(self, seen: AttentionSeen) -> Tensor | None:
        if not has_two_peaks(seen.all_of("key")):
            return None
        sums_hd = torch.stack([sample.k_hmd.sum(dim=1) for sample in seen.samples]).sum(dim=0)
        return torch.where(sums_hd < 0, -1.0, 1.0).to(sums_hd)

    def attention(self, seen: AttentionSeen) -> Chosen:
        return {**super().attention(seen), "weights": self._weights(seen)}

    def _weights(self, seen: AttentionSeen) -> Log2:
        """The scale and the tau that change least in what is read."""
        highest = float(seen.all_of("weights").max())
        bits = self.bits.activations
        like = seen.samples[0].q_hrd

        def made(tau: int, log_scale: float) -> Log2:
            return Log2(bits, scale=like.new_tensor(2.0**log_scale), tau=like.new_tensor(float(tau)))

        def error(quantiser: Log2) -> float:
            lost = [
                ((quantiser(sample.probabilities_hrm) - sample.probabilities_hrm) @ sample.v_hmd)
                for sample in seen.samples
            ]
            return sum(float(each.square().sum()) for each in lost)

        top = math.log2(highest)
        choices = []
        for tau in taus(bits):
            log_scale = lowest_place(lambda x: error(made(tau, x)), top - OCTAVES, top)  # noqa: B023
            choices += [made(tau, log_scale), made(tau, top)]
        return min(choices, key=error)


def taus(bits: int) -> list[int]:
    """How many codes may halve a value."""
    return [*TAUS, *(TAUS[-1] << more for more in range(1, bits - 7))]


def has_two_peaks(x: Tensor) -> bool:
    """Whether a density of values, estimated by Gaussian kernels of Scott's width, has two peaks."""
    x = x.flatten()
    x = x[:: max(1, len(x) // MOST_VALUES)]
    width = float(x.std()) * len(x) ** -0.2
    if not width > 0:
        return False
    places = torch.linspace(float(x.min()), float(x.max()), POINTS, dtype=x.dtype)
    density = (-0.5 * ((places[:, None] - x) / width).square()).exp().sum(dim=1)
    inner = density[1:-1]
    is_peak = (inner > density[:-2]) & (inner >= density[2:]) & (inner >= HIGH * density.sum())
    peaks: list[int] = []
    for place in sorted(is_peak.nonzero()[:, 0].tolist(), key=lambda i: -float(inner[i])):
        if all(abs(place - other) >= APART for other in peaks):
            peaks.append(place)
    return len(peaks) == 2


def lowest_place(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one number is lowest between two bounds, by sections of golden ratio."""
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(SECTIONS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = function(right)
    return left if at_left < at_right else right
