"""Layers and attention whose operands are rounded.

Layouts: B images or windows · H heads · N queries · M keys · D channels of a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vidseg.trackers.low_bits.folding import take_groups
from vidseg.trackers.low_bits.quantisers import Grouped, Quantiser

LAYER_OPERANDS = ("input", "weight")
ATTENTION_OPERANDS = ("query", "key", "weights", "value")


class LowBitLayer(nn.Module):
    """A layer of a rounded weight whose input is rounded, too.

    Args:
        layer: a linear layer or a convolution; its weight is replaced by the rounded one.
        operands: a quantiser for each of `LAYER_OPERANDS`.
    """

    def __init__(self, layer: nn.Module, operands: Mapping[str, Quantiser]) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.input = operands["input"]
        assert isinstance(layer.weight, Tensor)
        weight, bias = rounded_weights(layer.weight, layer.bias, operands)  # type: ignore[arg-type]
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(self.input(x))
        return out


@torch.no_grad()
def rounded_weights(
    weight: Tensor, bias: Tensor | None, operands: Mapping[str, Quantiser]
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer that takes what `operands['input']` returns. Biases are not rounded."""
    weight, bias = taken_over(weight, bias, operands["input"])
    return operands["weight"](weight), bias


@torch.no_grad()
def taken_over(weight: Tensor, bias: Tensor | None, given: Quantiser) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer that takes what `given` returns, not yet rounded."""
    if isinstance(given, Grouped):
        return take_groups(weight, bias, given.shift, given.scale)
    return weight, bias


class LowBitAttention(nn.Module):
    """Scaled dot-product attention whose four operands are rounded; the sum of scores and biases is not.

    Args:
        operands: a quantiser for each of `ATTENTION_OPERANDS`; one that is missing does not round.
    """

    def __init__(self, operands: Mapping[str, Quantiser] | None = None) -> None:
        super().__init__()
        given = operands or {}
        self.operands = nn.ModuleDict({name: given.get(name, nn.Identity()) for name in ATTENTION_OPERANDS})

    def forward(self, q_bhnd: Tensor, k_bhmd: Tensor, v_bhmd: Tensor, bias_bhnm: Tensor | None) -> Tensor:
        """B x H x N x D.

        Args:
            bias_bhnm: is added to the scores; it may have one row for all images.
        """
        heads = []
        for head in range(q_bhnd.shape[1]):
            # One head at a time, as the scores of SAM's grid are 67 MB for each; where gradients are wanted
            # they are computed a second time.
            bias = None if bias_bhnm is None else bias_bhnm[:, head]
            given = (q_bhnd[:, head], k_bhmd[:, head], v_bhmd[:, head], bias)
            is_learning = torch.is_grad_enabled()
            heads.append(
                checkpoint(self._head, *given, use_reentrant=False) if is_learning else self._head(*given)
            )
        return torch.stack(heads, dim=1)

    def _head(self, q_bnd: Tensor, k_bmd: Tensor, v_bmd: Tensor, bias_bnm: Tensor | None) -> Tensor:
        operands = self.operands
        scores_bnm = operands["query"](q_bnd) @ operands["key"](k_bmd).transpose(1, 2)
        scores_bnm = scores_bnm / math.sqrt(q_bnd.shape[2])
        if bias_bnm is not None:
            scores_bnm = scores_bnm + bias_bnm
        out: Tensor = operands["weights"](scores_bnm.softmax(dim=2)) @ operands["value"](v_bmd)
        return out
