"""Q-TinySAM's calibrator: steps by what they change in results, weighted by how much those matter.

Source: Shu et al., "TinySAM", arXiv:2312.13789, section 3.3. There the importance of an output is its squared
gradient of the divergence of masks and predicted IoUs from those in float32; as that is flat at float32
itself, ours is the expectation of its curvature there (`pictures.importance`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidseg.compression.low_bits.calibrator import Calibrator, Chosen
from vidseg.compression.low_bits.recording import AttentionSeen, LayerSeen
from vidseg.compression.low_bits.steps import SMALLEST, all_but, best, symmetric_over
from vidseg.trackers.low_bits.quantisers import GELU_DEPTH, Quantiser, SplitSign, TwoRanges

ROUNDS = 2
"""How often the operands are gone through, the others held."""


class QTinySam(Calibrator):
    """Steps are symmetric; two ranges follow a softmax, and a GELU's negative side has steps of its own."""

    needs_importance = True

    def layer(self, seen: LayerSeen) -> Chosen:
        chosen = super().layer(seen)
        like = seen.weight.abs().amax(dim=all_but(seen.weight_axis, seen.weight), keepdim=True)
        weights = symmetric_over(like, self.bits.weights)
        channel_axis = -1 if seen.is_linear else 1

        def changed(operands: Chosen) -> Tensor:
            out = seen.output(operands["input"](seen.x), operands["weight"](seen.weight), seen.bias)
            return (out - seen.wanted).square() * seen.importance

        def of_weight(quantiser: Quantiser) -> Tensor:
            errors = changed({**chosen, "weight": quantiser}).movedim(channel_axis, 0).flatten(1).sum(dim=1)
            return errors.view_as(like)

        def of_input(quantiser: Quantiser) -> Tensor:
            return changed({**chosen, "input": quantiser}).sum()

        for _ in range(ROUNDS):
            if not seen.is_depthwise:
                by_share = self._input_by_share(*seen.bounds)
                chosen["input"] = best(by_share, of_input, torch.ones_like(seen.x.sum()))
            chosen["weight"] = best(weights, of_weight, like)
        return chosen

    def attention(self, seen: AttentionSeen) -> Chosen:
        bits = self.bits.activations
        by_share: dict[str, Callable[[Tensor], Quantiser]] = {
            operand: symmetric_over(torch.stack(seen.bounds(operand)).abs().max(), bits)
            for operand in ("query", "key", "value")
        }
        by_share["weights"] = lambda share: TwoRanges(bits, cut=share)
        one = torch.ones_like(seen.all_of("query").sum())
        chosen: Chosen = {operand: make(one) for operand, make in by_share.items()}

        def error(operand: str) -> Callable[[Quantiser], Tensor]:
            def of(quantiser: Quantiser) -> Tensor:
                operands = {**chosen, operand: quantiser}
                rows = zip(seen.samples, seen.wanted, seen.importance, strict=True)
                changes = [(each.output(operands) - want).square() * weight for each, want, weight in rows]
                return torch.stack([change.sum() for change in changes]).sum()

            return of

        for _ in range(ROUNDS):
            for operand, make in by_share.items():
                chosen[operand] = best(make, error(operand), one)
        return chosen

    def _input_by_share(self, low: Tensor, high: Tensor) -> Callable[[Tensor], Quantiser]:
        bits = self.bits.activations
        if not -GELU_DEPTH <= float(low) < 0:
            return symmetric_over(torch.maximum(-low, high), bits)
        whole = high.clamp(min=SMALLEST) / (2 ** (bits - 1) - 1)
        return lambda share: SplitSign(bits, step=whole * share)
