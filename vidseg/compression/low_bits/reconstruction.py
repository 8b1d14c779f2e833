"""Learns how each block of a model is rounded, so that it gives what it gives in float32.

A block is what adds to what it was given: of a transformer attention and perceptron, of vidseg-nano's encoder
three convolutions. One after another, each learns whether its weights are rounded up or down, and the steps
of all else that it multiplies, from what the blocks before it make of the pictures by then. Layers outside
blocks stay as calibrated.

Sources: Li et al., "BRECQ" (ICLR 2021, arXiv:2102.05426), blocks; Nagel et al., "Up or Down?" (ICML 2020,
arXiv:2004.10568), weights; Esser et al., "Learned Step Size Quantization" (ICLR 2020, arXiv:1902.08153); Wei
et al., "QDrop" (ICLR 2022, arXiv:2203.05740), of which blocks take inputs half of which are exact.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from vidseg.compression.calibration import free
from vidseg.compression.calls import Call, outputs_of, told_by
from vidseg.compression.kept import Kept
from vidseg.compression.low_bits.recording import Run
from vidseg.compression.low_bits.steps import SMALLEST
from vidseg.memory.cpu_kernels import without_cpu_kernels
from vidseg.trackers.backbones import efficientnet_lite, plain_vit, sam_vit, tiny_vit
from vidseg.trackers.low_bits.layers import taken_over
from vidseg.trackers.low_bits.places import Operands, Places, put_attention, put_layer
from vidseg.trackers.low_bits.quantisers import Quantiser, Uniform, UpOrDown
from vidseg.trackers.low_bits.saved import operands_of, scales_of
from vidseg.trackers.low_bits_settings import Bits
from vidseg.trackers.sam2 import two_way_transformer
from vidseg.trackers.space_time import decoder
from vidseg.training.learner import Learner

BLOCKS = (
    decoder.Block,
    efficientnet_lite.InvertedResidual,
    plain_vit.Block,
    sam_vit.Block,
    tiny_vit.AttentionBlock,
    tiny_vit.ThreeConvs,
    two_way_transformer.TwoWayBlock,
)
LEAST = 4
"""The least number of pictures: every fourth call of a block is held out."""
EXACT_SHARE = 0.5
"""This share of a block's inputs, drawn anew in each step, are those of the model in float32."""
WEIGHT_RATE, STEP_RATE = 3e-2, 1e-2
"""Learning rates of Adam: of what decides between up and down, and of the logarithms of steps."""
LOW, HIGH = -0.1, 1.1
"""The sigmoid between down, 0, and up, 1, is stretched to this range and cut, so that it reaches both."""
UNDECIDED = 0.02
"""Weight of the term that has each element decide, beside the error of the output as a share of its variance.
"""
SHARPEST, BLUNTEST, FREE = 2.0, 20.0, 0.2
"""Exponents of that term, which falls from one to the other; it begins after this share of the steps."""
_RNG = "rng"
"""The name of the state of the random numbers after a block, where what it learned is kept."""


@dataclass(frozen=True)
class BlockError:
    """The squared error of a block's outputs in calls that were held out, as a share of their variance."""

    calibrated: float
    learned: float
    """Where it is not below the other, the block was left as calibrated."""


class _Seen(NamedTuple):
    """What a block is given in one call, in float32 and after rounding, and what it should give."""

    exact: Call
    rounded: Call
    wanted: list[Tensor]


def reconstruct(
    model: nn.Module,
    places: Places,
    chosen: MutableMapping[str, Operands],
    runs: Sequence[Run],
    steps: int,
    *,
    bits: Bits,
    kept: Kept,
) -> dict[str, BlockError]:
    """Have the blocks of a model learn.

    Args:
        model: fused, in float32; it computes so again at the end.
        chosen: how the operands of each place are rounded; what is learned replaces what was calibrated.
        runs: each sets the model to work on pictures.
        steps: of each block.
        bits: of the operands.
        kept: keeps blocks, and has those that were kept before.

    Returns:
        The errors of each block, in the order in which they work.
    """
    blocks, rest = _blocks_of(model, places)
    exact = {name: model.get_submodule(name) for name in (*blocks, *rest)}
    rounded = {name: _rounded(exact[name], name, own, chosen) for name, own in (blocks | rest).items()}
    errors: dict[str, BlockError] = {}
    with without_cpu_kernels(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for name in _in_order(model, list(blocks), runs):
            own, before = blocks[name], exact[name]
            if saved := kept.read(name):
                tensors, facts = saved
                torch.set_rng_state(tensors.pop(_RNG))
                errors[name] = BlockError(**facts)
                if tensors:
                    chosen.update(operands_of(tensors, bits, name))
                    rounded[name] = _rounded(before, name, own, chosen)
                continue
            with _in_place(model, rounded):
                given = _calls(rounded[name], runs)
            calls = [
                _Seen(call, other, told_by(before, call))
                for call, other in zip(_calls(before, runs), given, strict=True)
            ]
            held = calls[LEAST - 1 :: LEAST]
            seen = [call for place, call in enumerate(calls) if place % LEAST != LEAST - 1]
            learned = _learn(before, name, own, chosen, seen, steps)
            after = _rounded(before, name, own, learned)
            errors[name] = error = BlockError(_error_on(rounded[name], held), _error_on(after, held))
            better = learned if error.learned < error.calibrated else {}
            if better:
                rounded[name] = after
                chosen.update(better)
            kept.write(name, {**scales_of(better), _RNG: torch.get_rng_state()}, asdict(error))
    return errors


def _blocks_of(model: nn.Module, places: Places) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The places of each block, by its name, and likewise each other place. An attention outside blocks is a
    block itself."""
    blocks: dict[str, list[str]] = {}
    rest: dict[str, list[str]] = {}
    for place in (*places.layers, *places.attentions):
        words = place.split(".")
        for count in range(1, len(words) + 1):
            name = ".".join(words[:count])
            if name in places.attentions or isinstance(model.get_submodule(name), BLOCKS):
                blocks.setdefault(name, []).append(place)
                break
        else:
            rest[place] = [place]
    return blocks, rest


def _rounded(
    module: nn.Module, name: str, places: Sequence[str], chosen: Mapping[str, Operands]
) -> nn.Module:
    """A copy of a block or layer whose operands are rounded as was chosen."""
    holder = nn.ModuleDict({"it": copy.deepcopy(module)})
    for place in places:
        own = "it" + place.removeprefix(name)
        put = put_attention if hasattr(holder.get_submodule(own), "products") else put_layer
        put(holder, own, chosen[place])
    return holder["it"]


@contextmanager
def _in_place(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """Put modules in place of others while the block runs."""
    before = {name: model.get_submodule(name) for name in modules}
    try:
        for name, module in modules.items():
            model.set_submodule(name, module)
        yield
    finally:
        for name, module in before.items():
            model.set_submodule(name, module)


def _in_order(model: nn.Module, names: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """The names of the blocks that work, in their order."""
    order: list[str] = []
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: order.append(name))
        for name in names
    ]
    with torch.no_grad():
        runs[0]()
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(order))


def _calls(module: nn.Module, runs: Sequence[Run]) -> list[Call]:
    """What a module is given while the model works, free of inference mode."""
    calls: list[Call] = []
    hook = module.register_forward_pre_hook(
        lambda _, given: calls.append(tuple(free(argument) for argument in given))
    )
    with torch.no_grad():
        for run in runs:
            run()
    hook.remove()
    return calls


class _LearningLayer(nn.Module):
    """A layer in which each element of the weight leans to one of its two neighbours."""

    def __init__(self, layer: nn.Module, operands: Operands) -> None:
        super().__init__()
        self.layer, self.input, weights = layer, operands["input"], operands["weight"]
        assert isinstance(weights, Uniform)
        weight, self.bias = taken_over(layer.weight, layer.bias, operands["input"])  # type: ignore[arg-type]
        self.bits, self.step = weights.bits, weights.step
        self.below = (weight / self.step).floor()
        share = weight / self.step - self.below
        self.leaning = nn.Parameter(torch.logit((share - LOW) / (HIGH - LOW)))

    @property
    def up(self) -> Tensor:
        """The place of each element between its neighbours, from 0, down, to 1, up."""
        return (self.leaning.sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        half = 2 ** (self.bits - 1)
        weight = (self.below + self.up).clamp(-half, half - 1) * self.step
        named = {"weight": weight} if self.bias is None else {"weight": weight, "bias": self.bias}
        out: Tensor = functional_call(self.layer, named, (self.input(x),))
        return out

    def operands(self) -> dict[str, Quantiser]:
        up = (self.up >= 0.5).to(torch.uint8)
        return {"input": self.input, "weight": UpOrDown(self.bits, step=self.step, up=up)}


def _learn(
    module: nn.Module,
    name: str,
    places: Sequence[str],
    chosen: Mapping[str, Operands],
    calls: Sequence[_Seen],
    steps: int,
) -> Mapping[str, Operands]:
    """How the operands of a block's places are rounded after so many steps."""
    holder = nn.ModuleDict({"it": copy.deepcopy(module)})
    layers: dict[str, _LearningLayer] = {}
    others: dict[str, dict[str, Quantiser]] = {}
    for place in places:
        own, operands = "it" + place.removeprefix(name), copy.deepcopy(dict(chosen[place]))
        if hasattr(holder.get_submodule(own), "products"):
            put_attention(holder, own, operands)
            others[place] = operands
        else:
            layers[place] = _LearningLayer(holder.get_submodule(own), operands)
            holder.set_submodule(own, layers[place])
    growing = _Growing.of(holder)
    weights = {f"{place}.leaning": layer.leaning for place, layer in layers.items()}
    lengths = {f"logarithm.{number}": each for number, each in enumerate(growing.logarithms)}
    groups = [
        {"params": list(each.values()), "lr": lr}
        for each, lr in ((weights, WEIGHT_RATE), (lengths, STEP_RATE))
    ]
    learner = Learner(weights | lengths, [torch.optim.Adam(groups)])
    for step in range(steps):
        growing.take()
        call = calls[int(torch.randint(len(calls), ()))]
        given = tuple(_mixed(*pair) for pair in zip(call.exact, call.rounded, strict=True))
        loss = _error(outputs_of(holder["it"], given), call.wanted)
        done = step / steps
        if weights and done >= FREE:
            exponent = BLUNTEST + (SHARPEST - BLUNTEST) * (done - FREE) / (1 - FREE)
            undecided = [1 - (2 * layer.up - 1).abs() ** exponent for layer in layers.values()]
            loss = loss + UNDECIDED * torch.cat([each.flatten() for each in undecided]).mean()
        loss.backward()
        learner.step()
    with torch.no_grad():
        growing.take()
        return {place: layer.operands() for place, layer in layers.items()} | others


@dataclass(frozen=True)
class _Growing:
    """What is learned of quantisers: by how much the logarithms of steps grow."""

    quantisers: list[Quantiser]
    begun: list[Tensor]
    logarithms: list[nn.Parameter]

    @classmethod
    def of(cls, module: nn.Module) -> _Growing:
        found = [each for each in module.modules() if isinstance(each, Quantiser) and each.LEARNED]
        begun = [getattr(each, str(each.LEARNED)) for each in found]
        return cls(found, begun, [nn.Parameter(torch.zeros(())) for _ in found])

    def take(self) -> None:
        """Have the quantisers round as was learned so far."""
        for quantiser, begun, logarithm in zip(self.quantisers, self.begun, self.logarithms, strict=True):
            setattr(quantiser, str(quantiser.LEARNED), begun * logarithm.exp())


def _mixed(exact: Any, rounded: Any) -> Any:
    if not isinstance(exact, Tensor) or not exact.is_floating_point():
        return rounded
    return torch.where(torch.rand_like(exact) < EXACT_SHARE, exact, rounded)


@torch.no_grad()
def _error_on(module: nn.Module, calls: Sequence[_Seen]) -> float:
    errors = [_error(outputs_of(module, call.rounded), call.wanted) for call in calls]
    return float(torch.stack(errors).mean())


def _error(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The mean squared error as a share of the variance, averaged over outputs."""
    shares = [F.mse_loss(a, b) / b.var().clamp(min=SMALLEST) for a, b in zip(got, wanted, strict=True)]
    return torch.stack(shares).mean()
