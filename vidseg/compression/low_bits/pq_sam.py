"""PQ-SAM's calibrator: channels of alike ranges share a shift and a scale, which the next layer takes over.

Source: Liu et al., "PQ-SAM: Post-training Quantization for Segment Anything Model", ECCV 2024. Its shifts and
scales are learned; ours are those of the groups' ranges, raised to the power that changes least in the
layer's results.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vidseg.compression.low_bits.calibrator import Calibrator, Chosen
from vidseg.compression.low_bits.recording import LayerSeen
from vidseg.compression.low_bits.steps import SMALLEST, best
from vidseg.trackers.low_bits.folding import take_groups
from vidseg.trackers.low_bits.layers import rounded_weights
from vidseg.trackers.low_bits.quantisers import Grouped, Quantiser

GROUPS = (2, 4, 8, 16)
"""Numbers of groups, tried in this order."""
POWERS = (0.0, 0.5, 1.0)
"""Powers of a group's range that are tried for its scale: what activations gain, weights may lose."""
ENOUGH = 0.99
"""More groups are taken as long as they lower the error to this share."""
OUTLIER = 1.5
"""A channel whose range lies this many interquartile ranges above the third quartile is an outlier (the
ranges taken as logarithms); its range is truncated."""
KEPT = 0.005
"""The share of an outlier's values that is cut off at each end."""


class PqSam(Calibrator):
    """Groups of channels before each linear layer; all else as the plain calibrator has it."""

    def layer(self, seen: LayerSeen) -> Chosen:
        if not seen.is_linear:
            return super().layer(seen)
        chosen = super().layer(seen)
        lowest = changed(seen, chosen)
        low_i, high_i = truncated_ranges(seen.x)
        for count in GROUPS:
            groups_i = grouped(torch.stack([low_i, high_i]), count)
            tried = [self._with_groups(seen, low_i, high_i, groups_i, power) for power in POWERS]
            errors = [changed(seen, each) for each in tried]
            if min(errors) > ENOUGH * lowest:
                break
            lowest = min(errors)
            chosen = tried[errors.index(lowest)]
        return chosen

    def _with_groups(
        self, seen: LayerSeen, low_i: Tensor, high_i: Tensor, groups_i: Tensor, power: float
    ) -> Chosen:
        ranges = [
            (low_i[groups_i == group].min(), high_i[groups_i == group].max()) for group in groups_i.unique()
        ]
        low_g, high_g = (torch.stack(side) for side in zip(*ranges, strict=True))
        shift_i = ((low_g + high_g) / 2)[groups_i]
        scale_i = ((high_g - low_g) / 2).clamp(min=SMALLEST).pow(power)[groups_i]
        bits = self.bits.activations
        highest = ((high_i - shift_i) / scale_i).max().clamp(min=SMALLEST)
        whole = highest / (2 ** (bits - 1) - 1)
        weight = self.weight(take_groups(seen.weight, None, shift_i, scale_i)[0], 0)

        def made(share: Tensor) -> Quantiser:
            return Grouped(bits, shift=shift_i, scale=scale_i, step=whole * share)

        def error(quantiser: Quantiser) -> Tensor:
            return torch.as_tensor(changed(seen, {"input": quantiser, "weight": weight}), dtype=whole.dtype)

        return {"input": best(made, error, torch.ones_like(whole)), "weight": weight}


def changed(seen: LayerSeen, operands: Chosen) -> float:
    """The sum of squares of what rounding changes in a layer's results."""
    weight, bias = rounded_weights(seen.weight, seen.bias, operands)
    return float((seen.output(operands["input"](seen.x), weight, bias) - seen.wanted).square().sum())


def truncated_ranges(x: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest value of each channel (the last axis), those of outliers truncated."""
    low_i, high_i = x.amin(dim=0), x.amax(dim=0)
    span = (high_i - low_i).clamp(min=SMALLEST).log()
    first, third = torch.quantile(span, 0.25), torch.quantile(span, 0.75)
    is_outlier = span > third + OUTLIER * (third - first)
    if bool(is_outlier.any()):
        low_i[is_outlier] = torch.quantile(x[:, is_outlier], KEPT, dim=0)
        high_i[is_outlier] = torch.quantile(x[:, is_outlier], 1 - KEPT, dim=0)
    return low_i, high_i


def grouped(points_fi: Tensor, count: int) -> Tensor:
    """The group of each point: the group of the largest spread is cut in two until there are `count`.

    Args:
        points_fi: features x points.
    """
    groups = torch.zeros(points_fi.shape[1], dtype=torch.long)
    for new in range(1, count):
        spreads = [_spread(points_fi[:, groups == group]) for group in range(new)]
        widest = max(range(new), key=lambda group: spreads[group])
        members = (groups == widest).nonzero()[:, 0]
        if spreads[widest] == 0:
            break
        inside = points_fi[:, members]
        feature = inside[int(inside.var(dim=1, unbiased=False).argmax())]
        groups[members[feature.double() > _cut(feature)]] = new
    return groups


def _spread(points_fi: Tensor) -> float:
    return float((points_fi - points_fi.mean(dim=1, keepdim=True)).square().sum())


def _cut(values: Tensor) -> float:
    """The value after which ordered numbers are cut into two sets that lie closest to their own means."""
    ordered = values.sort().values.double()
    sums, count = ordered.cumsum(dim=0)[:-1], torch.arange(1, len(ordered))
    # The sum of squared distances falls by the sums' squares over the counts.
    gain = sums.square() / count + (ordered.sum() - sums).square() / (len(ordered) - count)
    gain[ordered[1:] == ordered[:-1]] = -torch.inf
    return float(ordered[int(gain.argmax())])
