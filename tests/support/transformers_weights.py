"""Gives official weights the names of the transformers library, as its own converter does."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from vidseg.trackers.weights.renames.table import Renamer
from vidseg.trackers.weights.transformers_layout import (
    EDGETAM_FEEDFORWARD,
    FEEDFORWARD,
    PLACES,
    POINTS,
    RENAMES,
    THEIR_PLACES,
    THEIR_POINTS,
)

_KEYS_VALUES = re.compile(r"(spatial_perceiver\.layers\.\d+)\.(attn|self_attn)\.to_kv\.weight")


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of SAM 2 or EdgeTAM under the library's names."""
    is_edgetam = any(name.startswith("spatial_perceiver.") for name in state)
    rename = Renamer([*RENAMES, *(EDGETAM_FEEDFORWARD if is_edgetam else FEEDFORWARD)])
    theirs: dict[str, Tensor] = {}
    for name, value in state.items():
        if name == PLACES:
            theirs |= dict.fromkeys(THEIR_PLACES, value)
        elif found := _KEYS_VALUES.fullmatch(name):
            layer, part = found.groups()
            kind = "cross" if part == "attn" else "self"
            for half, rows in zip("kv", value.chunk(2), strict=True):
                theirs[f"{layer}.{kind}_attention.{half}_proj.weight"] = rows.clone()
        elif name not in POINTS:
            theirs[rename(name)] = value
    if all(name in state for name in POINTS):
        theirs[THEIR_POINTS] = torch.cat([state[name] for name in POINTS])
    return theirs
