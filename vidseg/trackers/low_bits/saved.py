"""Scales in a safetensors file: PLACE/OPERAND/KIND/VALUE, such as '...attn.qkv/input/uniform/step'."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vidseg.errors import CheckpointError, ConfigError
from vidseg.trackers.low_bits.layers import ATTENTION_OPERANDS, LAYER_OPERANDS
from vidseg.trackers.low_bits.places import Operands, is_depthwise, places_of, put_attention, put_layer
from vidseg.trackers.low_bits.quantisers import QUANTISERS, Quantiser
from vidseg.trackers.low_bits_settings import Bits, LowBits
from vidseg.trackers.weights import read_checkpoint, sha256_of


def scales_of(chosen: Mapping[str, Operands]) -> dict[str, Tensor]:
    """The scales of the operands of each place, by their names in a file."""
    return {
        f"{place}/{operand}/{quantiser.KIND}/{name}": value.detach().contiguous()
        for place, operands in chosen.items()
        for operand, quantiser in operands.items()
        for name, value in quantiser.named_buffers()
    }


def install(model: nn.Module, settings: LowBits, weights: str | None, digest: str | None, where: str) -> None:
    """Make a fused model with weights one of few bits.

    Args:
        weights: the file of weights that the YAML names; the scales lie beside it.
        digest: of the model's weights.

    Raises:
        ConfigError: the model has no such parts.
        CheckpointError: the scales are missing or damaged, or are for other weights.
    """
    if weights is None or digest != settings.weights_sha256:
        raise CheckpointError(
            "the scales were chosen for other weights",
            where=f"{where}, in 'low_bits'",
            hint="use the YAML with its own weights, or run vidseg compress --simulate-bits with these",
        )
    file = Path(weights).with_name(settings.scales)
    place_scales(model, settings, read_checkpoint(file), where=str(file))
    if settings.scales_sha256 not in (None, sha256_of(file)):
        raise CheckpointError(
            "the scales are not those that the YAML names: their SHA-256 is another one",
            where=str(file),
            hint="keep the files of one run of vidseg compress together",
        )


def place_scales(model: nn.Module, settings: LowBits, scales: Mapping[str, Tensor], where: str) -> None:
    """Make a fused model one of few bits, by scales as `scales_of` names them.

    Raises:
        ConfigError: the model has no such parts.
        CheckpointError: scales are missing, or do not fit.
    """
    bits = Bits.parse(settings.bits)
    chosen = operands_of(scales, bits, where)
    places = places_of(model, settings.parts, where)
    wanted: dict[str, tuple[str, ...]] = dict.fromkeys(places.layers, LAYER_OPERANDS)
    wanted |= dict.fromkeys(places.attentions, ATTENTION_OPERANDS)
    for name in {**wanted, **chosen}:
        if set(wanted.get(name, ())) != set(chosen.get(name, ())):
            raise CheckpointError(f"the scales do not fit the model at '{name}'", where=where)
    for name, layer in places.layers.items():
        _check_shapes(name, layer, chosen[name], where)
        put_layer(model, name, chosen[name])
    for name in places.attentions:
        put_attention(model, name, chosen[name])


def operands_of(scales: Mapping[str, Tensor], bits: Bits, where: str) -> dict[str, dict[str, Quantiser]]:
    """The operands of each place, from scales as `scales_of` names them.

    Raises:
        CheckpointError: a name or a value is none of a scale.
    """
    values: dict[tuple[str, str, str], dict[str, Tensor]] = defaultdict(dict)
    for key, value in scales.items():
        parts = key.split("/")
        if len(parts) != 4:
            raise CheckpointError(f"'{key}' is no name of a scale", where=where)
        values[parts[0], parts[1], parts[2]][parts[3]] = value
    chosen: dict[str, dict[str, Quantiser]] = defaultdict(dict)
    for (place, operand, kind), given in values.items():
        quantiser = QUANTISERS.get(kind)
        if quantiser is None or set(given) != set(quantiser.NAMES):
            raise CheckpointError(f"there is no quantiser '{kind}' of {sorted(given)}", where=where)
        for name, value in given.items():
            if not _is_scale(quantiser, name, value):
                raise CheckpointError(f"the scale '{place}/{operand}/{kind}/{name}' is no scale", where=where)
        count = bits.weights if operand == "weight" else bits.activations
        chosen[place][operand] = quantiser(count, **given)
    return chosen


def _is_scale(kind: type[Quantiser], name: str, value: Tensor) -> bool:
    if name in kind.FLAGS:
        return value.dtype == torch.uint8 and bool((value <= 1).all())
    if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
        return False
    return name not in kind.POSITIVE or bool((value > 0).all())


def _check_shapes(name: str, layer: nn.Module, operands: Operands, where: str) -> None:
    """Refuse scales that do not broadcast to a layer's input or weight."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if is_depthwise(layer):
        first = weight.flatten(2)[..., :1]  # channels x 1 x 1, before rows and columns
    else:
        first = weight.flatten(2)[0, :, 0] if weight.dim() > 2 else weight[0]
    for operand, like in (("input", first), ("weight", weight)):
        for value in operands[operand].buffers():
            sizes = [1] * (like.dim() - value.dim()) + list(value.shape)
            fits = all(size in (1, whole) for size, whole in zip(sizes, like.shape, strict=False))
            if not fits or len(sizes) > like.dim():
                raise CheckpointError(f"the scales do not fit the model at '{name}/{operand}'", where=where)


def require_float32(dtype: torch.dtype, where: str) -> None:
    """Refuse other types: steps would be rounded themselves.

    Raises:
        ConfigError: the type is not float32.
    """
    if dtype != torch.float32:
        raise ConfigError(
            "few bits are simulated in float32", where=where, hint="--dtype float32, or leave it out"
        )
