"""From a trained encoder to the subnet that fits: order the units, train the supernet, time it, search."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vidseg.compression.calls import Call, told_by
from vidseg.compression.kept import Kept
from vidseg.compression.source import Source
from vidseg.compression.supernet.choices import Choices
from vidseg.compression.supernet.reorder import apart, layer_scores, reorder, unit_scores
from vidseg.compression.supernet.sandwich import train
from vidseg.compression.supernet.search import Found, search
from vidseg.compression.supernet.subnet import Elastic, Subnet, settings_of, slice_of
from vidseg.compression.supernet.times import measure
from vidseg.errors import ConfigError
from vidseg.trackers.backbones.plain_vit import PlainViT
from vidseg.trackers.backbones.sam_vit import SamViT
from vidseg.trackers.image_encoder import ImageEncoder

JUDGED = 4
"""On how many of the calls subnets are compared with the teacher."""


@dataclass(frozen=True)
class Made:
    """A model with the subnet's encoder, never fused."""

    model: nn.Module
    entries: dict[str, dict[str, Any]]
    """What its YAML says otherwise; see `Source.with_entries`."""
    found: Found


def supernet_of(source: Source) -> Elastic:
    """A copy of a model's image encoder as a supernet.

    Raises:
        ConfigError: it is no plain vision transformer.
    """
    encoder = getattr(source.model, "image_encoder", None)
    if not isinstance(encoder, ImageEncoder) or not isinstance(encoder.trunk, (SamViT, PlainViT)):
        raise ConfigError(
            "the image encoder has no blocks that could be left out",
            where=source.where,
            hint="choose a model with a plain vision transformer: SAM, EfficientSAM, EfficientTAM",
        )
    assert source.settings.backbone is not None
    return Elastic(copy.deepcopy(encoder), source.settings.backbone, source.settings.image_size)


def find(
    source: Source,
    calls: Sequence[Call],
    budget: float,
    *,
    epochs: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    kept: Kept | None = None,
) -> Made:
    """The subnet within a budget of milliseconds that is nearest to the whole encoder.

    Args:
        calls: what the image encoder takes on calibration pictures.
        epochs: of sandwich training.
        tell: called with lines for people to read.
        kept: keeps epochs, and has those that were kept before.

    Raises:
        ConfigError: see `supernet_of`; or even the smallest subnet takes longer.
        RunError: training diverged.
    """
    encoder, teacher = supernet_of(source), source.model.get_submodule("image_encoder")
    judged = [calls[number] for number in range(min(JUDGED, len(calls)))]
    wanted = [told_by(teacher, call) for call in judged]
    reorder(encoder.trunk, unit_scores(encoder, calls))
    choices = Choices.of(encoder.subnet, layer_scores(encoder, judged, wanted))
    times = measure(encoder, choices, calls[0])
    tell(f"image encoder: {times.of(choices.smallest):.1f} to {times.of(choices.largest):.1f} ms")
    if times.of(choices.smallest) <= budget:  # else the search says so, and training would be in vain
        train(encoder, teacher, choices, calls, epochs=epochs, seed=seed, tell=tell, kept=kept)

    def distance_of(subnet: Subnet) -> float:
        encoder.subnet = subnet
        return apart(encoder, judged, wanted)

    found = search(choices, distance_of, times.of, budget, seed=seed, tell=tell)
    settings = settings_of(encoder.trunk, found.subnet)
    return Made(_model(source, encoder, found.subnet, settings), {"backbone": settings}, found)


def _model(source: Source, encoder: Elastic, subnet: Subnet, settings: dict[str, Any]) -> nn.Module:
    state = {
        name: value
        for name, value in source.model.state_dict().items()
        if not name.startswith("image_encoder.")
    }
    trunk = slice_of(encoder.trunk.state_dict(), subnet)
    state |= {f"image_encoder.trunk.{name}": value for name, value in trunk.items()}
    state |= {f"image_encoder.neck.{name}": value for name, value in encoder.neck.state_dict().items()}
    return source.built({"backbone": settings}, state)
