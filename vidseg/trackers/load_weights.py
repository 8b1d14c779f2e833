"""Loads weights into a model that was just built: those asked for, those published for its name, or none."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vidseg.errors import CheckpointError
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.sam.image_model import SamImageModel
from vidseg.trackers.weights import (
    PUBLISHED,
    check_state,
    check_values,
    find_weights,
    read_checkpoint,
    shapes_of,
    state_sha256,
)
from vidseg.trackers.weights.renames import OWN_NAMES, Renames

HEADS = ("prompt_encoder.", "mask_decoder.")
"""Beginnings of the official names of SAM's heads."""


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
    if renames.heads_of is not None:
        state = _with_heads(module, name, state, expected, renames.heads_of)
    check_state(shapes_of(expected), state, where=file, tracker=name)
    check_values(expected, state, where=file)
    module.load_state_dict(renames.from_public(state))
    return state_sha256(renames.to_public(module.state_dict()))


def _with_heads(
    module: nn.Module, name: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], heads_of: str
) -> dict[str, Tensor]:
    """The weights of an encoder, completed by the prompt encoder and the mask decoder of another model.

    They may be in the state already, alone or with all of that model, whose own encoder is not used. Without
    them the model makes embeddings, and says what is missing when it is asked for masks.
    """
    encoder = {key: value for key, value in state.items() if not key.startswith("image_encoder.")}
    if any(key.startswith(HEADS) for key in encoder):
        return encoder
    try:
        heads: Mapping[str, Tensor] = read_checkpoint(find_weights(heads_of))
    except CheckpointError as missing:
        heads = expected
        assert isinstance(module, SamImageModel)
        module.unanswerable = CheckpointError(
            f"the prompt encoder and the mask decoder of '{name}' are those of '{heads_of}', whose weights "
            "are not on this machine",
            hint=missing.hint,
        )
    return encoder | {key: value for key, value in heads.items() if key.startswith(HEADS)}


def _find_state(name: str, asked: TrackerOptions, own: str | None) -> dict[str, Tensor] | None:
    """The state dict that the options ask for; None if they ask for random weights."""
    restriction = PUBLISHED[name].restriction if name in PUBLISHED else None
    if restriction and not (isinstance(asked.weights, Mapping) or asked.allow_random_weights):
        warnings.warn(restriction, stacklevel=2)
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
            # Scales of norms, the only weights of one dimension, stay 1.
            if parameter.dim() > 1 or not ("norm" in name or name.endswith("weight")):
                parameter.normal_(0, fan_in**-0.5 if parameter.dim() > 1 else 0.02, generator=generator)
    for _, buffer in sorted(module.named_buffers()):
        if buffer.is_floating_point() and buffer.dim() > 1:
            buffer.normal_(generator=generator)
