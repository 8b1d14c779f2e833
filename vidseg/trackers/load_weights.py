"""Loads weights into a model that was just built: those asked for, those published for its name, or none."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.weights import check_state, find_weights, read_checkpoint, shapes_of, state_sha256
from vidseg.trackers.weights.renames import OWN_NAMES, Renames


def load_weights(
    module: nn.Module, name: str, asked: TrackerOptions, own: str | None, renames: Renames = OWN_NAMES
) -> str | None:
    """Load a model's weights.

    Args:
        name: of the tracker or image model.
        own: the file of weights that its YAML names.
        renames: how official names and the module's differ.

    Returns:
        Their digest under the official names; None for random weights.

    Raises:
        CheckpointError: weights are missing or do not fit; their names in the message are the official ones.
    """
    state = _find_state(name, asked, own)
    if state is None:
        _fill_randomly(module)
        return None
    file = asked.weights if isinstance(asked.weights, str) else None
    expected = renames.to_public(module.state_dict())
    check_state(shapes_of(expected), state, where=file, tracker=name)
    module.load_state_dict(renames.from_public(state))
    return state_sha256(renames.to_public(module.state_dict()))


def _find_state(name: str, asked: TrackerOptions, own: str | None) -> dict[str, Tensor] | None:
    """The state dict that the options ask for; None if they ask for random weights."""
    if asked.weights is not None:
        return read_checkpoint(asked.weights)
    if asked.allow_random_weights:
        return None
    return read_checkpoint(own or find_weights(name))


def _fill_randomly(module: nn.Module) -> None:
    """Fill a model with deterministic random weights, for tests and timings, never for results."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in sorted(module.named_parameters()):
        fan_in = math.prod(parameter.shape[1:])
        with torch.no_grad():
            # Scales of norms stay 1.
            if parameter.dim() > 1 or not ("norm" in name or name.endswith("bn.weight")):
                parameter.normal_(0, fan_in**-0.5 if parameter.dim() > 1 else 0.02, generator=generator)
    for _, buffer in sorted(module.named_buffers()):
        if buffer.is_floating_point() and buffer.dim() > 1:
            buffer.normal_(generator=generator)
