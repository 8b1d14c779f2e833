"""What goes into the layers and the attention of a model on some pictures, and how much it matters.

A sample of each is kept: rows of what is linear, a piece of a map, some queries of one picture or window. It
holds the largest magnitude, and bounds are known of all values: what is not in a sample would be clipped.

Layouts: H heads · R kept queries · M keys · D channels of a head · K candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vidseg.memory.cpu_kernels import without_cpu_kernels
from vidseg.trackers.backbones.conv_norm import Pointwise
from vidseg.trackers.low_bits.layers import LowBitAttention
from vidseg.trackers.low_bits.places import Operands, Places, is_depthwise

ROWS = 64
"""How many rows of a linear layer are kept of each run."""
SIDE = 8
"""Side of the piece of a map that is kept of each run of a convolution, on its coarser side."""
QUERIES = 32
"""How many queries of an attention are kept of each run."""
MOST_RUNS = 4
"""How many runs of an attention are kept: all keys of each are."""

Run = Callable[[], Tensor]
"""Runs the model; returns a number whose squared gradients say how much a value matters, see `recorded`."""


@dataclass
class Extremes:
    """The least and the largest of all values that passed, kept or not."""

    low: Tensor = field(default_factory=lambda: torch.tensor(math.inf))
    high: Tensor = field(default_factory=lambda: torch.tensor(-math.inf))
    """One number, or one for each channel: C x 1 x 1."""

    def note(self, x: Tensor, *, each_channel: bool = False) -> None:
        """Take in values, for each channel of B x C x h x w by itself if so asked."""
        if each_channel:
            low, high = x.amin(dim=(0, 2, 3))[:, None, None], x.amax(dim=(0, 2, 3))[:, None, None]
        else:
            low, high = x.aminmax()
        self.low, self.high = torch.minimum(low, self.low), torch.maximum(high, self.high)


@dataclass
class LayerSeen:
    """What a layer saw."""

    layer: nn.Module
    inputs: list[Tensor] = field(default_factory=list)
    importances: list[Tensor] = field(default_factory=list)
    extremes: Extremes = field(default_factory=Extremes)

    @property
    def is_linear(self) -> bool:
        """Whether channels are on the last axis, and each row is by itself."""
        return isinstance(self.layer, nn.Linear) and not isinstance(self.layer, Pointwise)

    @property
    def is_depthwise(self) -> bool:
        return is_depthwise(self.layer)

    @cached_property
    def x(self) -> Tensor:
        """The inputs, one after another: rows x channels, or pieces x channels x height x width."""
        return torch.cat(self.inputs)

    @property
    def weight(self) -> Tensor:
        weight = self.layer.weight
        assert isinstance(weight, Tensor)
        return weight.detach()

    @property
    def bias(self) -> Tensor | None:
        bias: Any = self.layer.bias
        return None if bias is None else bias.detach()

    @property
    def weight_axis(self) -> int:
        """The axis of the weight that counts output channels."""
        return 1 if isinstance(self.layer, nn.ConvTranspose2d) else 0

    def output(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What the layer makes of inputs with another weight and bias, its activation included."""
        named = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        out: Tensor = functional_call(self.layer, named, (x,))
        return out

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The least and the largest input, kept or not: a number each, or C x 1 x 1 of a depthwise one."""
        all_seen = replace(self.extremes)
        all_seen.note(self.x, each_channel=self.is_depthwise)
        return all_seen.low, all_seen.high

    @cached_property
    def wanted(self) -> Tensor:
        return self.output(self.x, self.weight, self.bias)

    @cached_property
    def importance(self) -> Tensor:
        """How much each output matters, in the shape of `wanted`; ones where that was not asked."""
        return torch.cat(self.importances) if self.importances else torch.ones_like(self.wanted)

    def note(self, x: Tensor, out: Tensor) -> None:
        cut_in, cut_out = self._rows(x, out) if self.is_linear else self._piece(x, out)
        self.inputs.append(cut_in(x.detach()).clone())
        self.extremes.note(x.detach(), each_channel=self.is_depthwise)
        _when_known(out, lambda gradient: self.importances.append(cut_out(gradient).square()))

    def _rows(self, x: Tensor, out: Tensor) -> tuple[Callable[[Tensor], Tensor], ...]:
        count = x[..., 0].numel()
        rows = _some(x.reshape(count, -1), ROWS)

        def cut(values: Tensor) -> Tensor:
            return values.reshape(count, -1)[rows]

        return cut, cut

    def _piece(self, x: Tensor, out: Tensor) -> tuple[Callable[[Tensor], Tensor], ...]:
        """A piece of the input, and the outputs that a convolution makes of it alone."""
        coarse = [min(sides) for sides in zip(x.shape[2:], out.shape[2:], strict=True)]
        place = torch.unravel_index(x.abs().argmax(), x.shape)[2:]
        begins = [
            max(0, min(int(at) // (whole // side) - SIDE // 2, side - SIDE))
            for at, whole, side in zip(place, x.shape[2:], coarse, strict=True)
        ]

        def cut(values: Tensor) -> Tensor:
            for axis, (side, begin) in enumerate(zip(coarse, begins, strict=True), start=2):
                ratio = values.shape[axis] // side
                values = values.narrow(axis, begin * ratio, min(SIDE, side) * ratio)
            return values

        return cut, cut


@dataclass(frozen=True)
class AttentionSample:
    """Some queries of one picture or window, and all its keys and values."""

    q_hrd: Tensor
    k_hmd: Tensor
    v_hmd: Tensor
    bias_hrm: Tensor | None

    def output(self, operands: Operands) -> Tensor:
        """The averages that the queries read, with rounded operands: H x R x D."""
        given = (None if x is None else x[None] for x in (self.q_hrd, self.k_hmd, self.v_hmd, self.bias_hrm))
        out: Tensor = LowBitAttention(operands)(*given)[0]
        return out

    @cached_property
    def probabilities_hrm(self) -> Tensor:
        scores_hrm = self.q_hrd @ self.k_hmd.transpose(1, 2) / self.q_hrd.shape[2] ** 0.5
        return (scores_hrm if self.bias_hrm is None else scores_hrm + self.bias_hrm).softmax(dim=2)


@dataclass
class AttentionSeen:
    """What an attention saw."""

    attention: nn.Module
    samples: list[AttentionSample] = field(default_factory=list)
    importances: list[Tensor] = field(default_factory=list)
    extremes: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    """Query, key, value -> for each run the least and the largest value of each head and channel."""

    def all_of(self, operand: str) -> Tensor:
        """The values of one operand, in one row."""
        names = {"query": "q_hrd", "key": "k_hmd", "value": "v_hmd", "weights": "probabilities_hrm"}
        return torch.cat([getattr(sample, names[operand]).flatten() for sample in self.samples])

    @cached_property
    def wanted(self) -> list[Tensor]:
        return [sample.output({}) for sample in self.samples]

    @property
    def importance(self) -> list[Tensor]:
        """How much each output matters, in the shapes of `wanted`; ones where that was not asked."""
        return self.importances or [torch.ones_like(out) for out in self.wanted]

    def bounds(self, operand: str) -> tuple[Tensor, Tensor]:
        """The least and the largest value of an operand, kept or not."""
        kept = self.all_of(operand)
        ends = [kept.min(), kept.max(), *(x for pair in self.extremes.get(operand, []) for x in pair)]
        return torch.stack([end.min() for end in ends]).min(), torch.stack([end.max() for end in ends]).max()

    def change_signs(self, signs_hd: Tensor) -> None:
        """Multiply queries and keys as `fold_signs` does."""
        for operand in self.extremes.keys() & {"query", "key"}:
            self.extremes[operand] = [
                (low * signs_hd, high * signs_hd) for low, high in self.extremes[operand]
            ]
        signs = signs_hd[:, None]
        self.samples = [
            AttentionSample(sample.q_hrd * signs, sample.k_hmd * signs, sample.v_hmd, sample.bias_hrm)
            for sample in self.samples
        ]

    def note(self, given: tuple[Tensor, Tensor, Tensor, Tensor | None], out: Tensor) -> None:
        q, k, v = (x.detach() for x in given[:3])
        bias = None if given[3] is None else given[3].detach()
        for operand, x_bhnd in (("query", q), ("key", k), ("value", v)):
            ends = (x_bhnd.amin(dim=(0, 2)), x_bhnd.amax(dim=(0, 2)))
            self.extremes.setdefault(operand, []).append(ends)
        if len(self.samples) == MOST_RUNS:
            return
        image = int(k.abs().amax(dim=(1, 2, 3)).argmax())
        rows = _some(q[image].transpose(0, 1).flatten(1), QUERIES)
        bias_hrm = None if bias is None else bias[image if len(bias) > 1 else 0][:, rows].clone()
        sample = AttentionSample(q[image][:, rows].clone(), k[image].clone(), v[image].clone(), bias_hrm)
        self.samples.append(sample)
        _when_known(out, lambda gradient: self.importances.append(gradient[image][:, rows].square()))


def _some(x_nc: Tensor, count: int) -> Tensor:
    """Numbers of some rows drawn at random, that of the largest magnitude among them: it sets the steps."""
    largest = x_nc.abs().amax(dim=1).argmax()
    others = torch.randperm(len(x_nc))
    return torch.cat([largest[None], others[others != largest]])[:count]


def _when_known(out: Tensor, note: Callable[[Tensor], None]) -> None:
    if out.requires_grad:
        out.register_hook(note)


@dataclass(frozen=True)
class Seen:
    """What the places of a model saw, by their names."""

    layers: dict[str, LayerSeen]
    attentions: dict[str, AttentionSeen]


def recorded(places: Places, runs: Sequence[Run], *, with_importance: bool) -> Seen:
    """Run a model and note what goes into its layers and attention.

    Args:
        runs: each runs the model once.
        with_importance: whether to note the squared gradients of what the runs return, too.
    """
    seen = Seen(
        {name: LayerSeen(layer) for name, layer in places.layers.items()},
        {name: AttentionSeen(attention) for name, attention in places.attentions.items()},
    )
    with _listening(seen), without_cpu_kernels(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for run in runs:
            with torch.set_grad_enabled(with_importance):
                result = run()
            if with_importance:
                # Hooks run from the last layer to the first: a place's own order is that of the runs.
                result.backward()
    return seen


@contextmanager
def _listening(seen: Seen) -> Iterator[None]:
    handles = [
        layer.layer.register_forward_hook(lambda module, given, out, layer=layer: layer.note(given[0], out))
        for layer in seen.layers.values()
    ]
    for place in seen.attentions.values():
        products = LowBitAttention()
        products.register_forward_hook(lambda module, given, out, place=place: place.note(given, out))
        place.attention.products = products
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for place in seen.attentions.values():
            place.attention.products = None  # type: ignore[assignment]
