"""What matters most in a vision transformer: the order of its hidden units, and the weight of its layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidseg.compression.calls import Call, caught, distance, outputs_of, told_by
from vidseg.compression.supernet.subnet import Elastic


@torch.no_grad()
def unit_scores(encoder: Elastic, calls: Sequence[Call]) -> list[Tensor]:
    """The score of each hidden unit of each block: sum of abs(outgoing weights) x norm of its activation.

    The norm is taken over all tokens of all calls.

    Source: SuperSAM (arXiv:2501.08504), after Sun et al., "A Simple and Effective Pruning Approach for Large
    Language Models" (Wanda, ICLR 2024).
    """
    perceptrons = [block.get_submodule("mlp.layers") for block in encoder.trunk.blocks]
    names = [f"trunk.blocks.{number}.mlp.layers.0" for number in range(len(perceptrons))]
    squares = [torch.zeros(len(each.get_parameter("0.bias")), dtype=torch.float64) for each in perceptrons]
    for call in calls:
        with caught(encoder, names) as activations:
            told_by(encoder.trunk, call)
        for sums, name in zip(squares, names, strict=True):
            sums += activations[name].flatten(0, -2).double().square().sum(dim=0).cpu()
    return [
        each.get_parameter("1.weight").abs().sum(dim=0).double().cpu() * sums.sqrt()
        for each, sums in zip(perceptrons, squares, strict=True)
    ]


@torch.no_grad()
def reorder(trunk: nn.Module, scores: Sequence[Tensor]) -> None:
    """Put the hidden units of each block in descending order of their scores; outputs stay as they are."""
    for number, of_block in enumerate(scores):
        layers = trunk.get_submodule(f"blocks.{number}.mlp.layers")
        order = of_block.argsort(descending=True, stable=True)
        for name, axis in (("0.weight", 0), ("0.bias", 0), ("1.weight", 1)):
            weight = layers.get_parameter(name)
            weight.copy_(weight.index_select(axis, order.to(weight.device)))


def layer_scores(encoder: Elastic, calls: Sequence[Call], wanted: Sequence[list[Tensor]]) -> list[float]:
    """How far the output is from what is wanted when a block is left out, for each block."""
    whole = encoder.subnet
    scores = []
    for number in range(len(whole)):
        encoder.subnet = tuple(0 if place == number else units for place, units in enumerate(whole))
        scores.append(apart(encoder, calls, wanted))
    encoder.subnet = whole
    return scores


@torch.inference_mode()
def apart(encoder: nn.Module, calls: Sequence[Call], wanted: Sequence[list[Tensor]]) -> float:
    """Mean distance of the outputs of an encoder from what is wanted of each call."""
    each = [distance(outputs_of(encoder, call), maps) for call, maps in zip(calls, wanted, strict=True)]
    return float(torch.stack(each).mean())
