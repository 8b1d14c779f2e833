"""Where products are computed in a model, and how others are put there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from vidseg.errors import ConfigError, unknown
from vidseg.trackers.low_bits.layers import LowBitAttention, LowBitLayer
from vidseg.trackers.low_bits.quantisers import Quantiser

PARTS = ("image_encoder", "mask_decoder")
"""The parts of a model that names no others in `low_bit_parts`: submodules with attention."""
LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
EXACT = ("patch_embed", "stem")
"""The layers that read pixels stay as they are: they are little of the work, and all else depends on them."""

Operands = Mapping[str, Quantiser]


@dataclass(frozen=True)
class Places:
    """The products of some parts of a model, by the names of their modules."""

    layers: dict[str, nn.Module]
    attentions: dict[str, nn.Module]


def places_of(model: nn.Module, parts: Sequence[str], where: str) -> Places:
    """The products of these parts of a fused model.

    Raises:
        ConfigError: a part is unknown, or has no attention whose operands could be rounded.
    """
    own_parts: Mapping[str, Sequence[str]] | None = getattr(model, "low_bit_parts", None)
    known = dict.fromkeys(PARTS) if own_parts is None else own_parts
    layers: dict[str, nn.Module] = {}
    attentions: dict[str, nn.Module] = {}
    for part in parts:
        if part not in known:
            raise ConfigError(unknown("part", part, known), where=where)
        found: dict[str, nn.Module] = {}
        for name in (part,) if own_parts is None else own_parts[part]:
            if hasattr(model, name):
                found |= dict(model.get_submodule(name).named_modules(prefix=name))
        own = {name: module for name, module in found.items() if hasattr(module, "products")}
        if own_parts is None and not own:
            raise ConfigError(
                f"the part '{part}' has no attention of queries, keys and values to quantise",
                where=where,
                hint="few bits are for vidseg-nano and for image models with transformers: sam-vit-b, ...",
            )
        attentions |= own
        layers |= {
            name: module
            for name, module in found.items()
            if isinstance(module, LAYERS) and not set(EXACT) & set(name.split("."))
        }
    return Places(layers, attentions)


def is_depthwise(layer: nn.Module) -> bool:
    """Whether no output of a layer mixes channels of its input, so that each may have a step of its own: the
    one factor of all products of an output is taken out of their sum, as a weight's is."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def put_layer(model: nn.Module, name: str, operands: Operands) -> None:
    """Have a layer round its operands."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, LowBitLayer(model.get_submodule(name), operands))


def put_attention(model: nn.Module, name: str, operands: Operands) -> None:
    """Have an attention round its operands."""
    model.get_submodule(name).products = LowBitAttention(operands)
