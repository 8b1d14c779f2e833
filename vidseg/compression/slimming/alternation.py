"""SlimSAM's alternate slimming: the residual stream loses channels and learns, then the insides do.

Each step asks which channels matter least, cuts them out, and distils what the original part gave into what
is left, while features of the channels that the step did not touch are held to what they were before it.

Source: Chen et al., "SlimSAM: 0.1% Data Makes Segment Anything Slim" (arXiv:2312.05284).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from vidseg.compression.calls import Call
from vidseg.compression.kept import Kept
from vidseg.compression.slimming.alignment import align
from vidseg.compression.slimming.importance import importance
from vidseg.compression.slimming.parts import part_of
from vidseg.compression.slimming.widths import Kind, cut, settings_of
from vidseg.compression.source import Source

OTHER: dict[Kind, Kind] = {"embedding": "bottleneck", "bottleneck": "embedding"}
"""The steps in order -> the kind of features that a step leaves as wide as they were."""


@dataclass(frozen=True)
class Slimmed:
    """A model with fewer channels, never fused."""

    model: nn.Module
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What its YAML says otherwise; see `Source.with_entries`."""


def slim(
    source: Source,
    share: float,
    calls: Mapping[str, Sequence[Call]],
    *,
    epochs: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    kept: Kept | None = None,
) -> Slimmed:
    """Remove a share of the channels of some parts.

    Args:
        share: of each width, above 0 and below 1. Counts are rounded so that heads stay alike.
        calls: what each of these parts takes on calibration pictures.
        epochs: how often each step's distillation sees them; 0: none.
        tell: called with lines for people to read.
        kept: keeps steps and their epochs, and has those that were kept before.

    Raises:
        ConfigError: the model has no such part.
        RunError: distillation diverged.
    """
    slimmed = Slimmed(source.model)
    device = next(source.model.parameters()).device
    for name, own in calls.items():
        part_of(source.model, name, source.where)
        for kind in OTHER:
            step = f"{name} {kind}"
            if kept is not None and (done := kept.read(step)):
                state, entries = done
                slimmed = Slimmed(source.built(entries, state).to(device), entries)
                continue
            slimmed = _step(source, slimmed, name, kind, share, own, epochs, seed, tell, kept)
            if kept is not None:
                kept.write(step, slimmed.model.state_dict(), slimmed.entries)
    return slimmed


def _step(
    source: Source,
    so_far: Slimmed,
    name: str,
    kind: Kind,
    share: float,
    own: Sequence[Call],
    epochs: int,
    seed: int,
    tell: Callable[[str], None],
    kept: Kept | None,
) -> Slimmed:
    teacher = part_of(source.model, name, source.where).module
    before = part_of(so_far.model, name, source.where)
    touched = [width for width in before.widths if width.kind == kind]
    if not touched:
        return so_far
    tell(f"{name}: {kind} widths")
    scores = importance(before.module, teacher, own, touched, seed=seed)
    best = [width.best(each, width.count(share)) for width, each in zip(touched, scores, strict=True)]
    chosen = iter(best)
    units = [next(chosen) if width.kind == kind else torch.arange(width.units) for width in before.widths]
    narrow = cut(before.module.state_dict(), before.widths, units)
    state = {**so_far.model.state_dict(), **{f"{name}.{key}": value for key, value in narrow.items()}}
    entry = {**so_far.entries.get(before.entry, {}), **settings_of(before.widths, units)}
    entries = {**so_far.entries, before.entry: entry}
    model = source.built(entries, state)
    student = part_of(model, name, source.where).module
    align(
        student,
        teacher,
        before.module,
        before.features[OTHER[kind]],
        own,
        epochs=epochs,
        seed=seed,
        tell=tell,
        kept=kept,
        name=f"{name} {kind} epochs",
    )
    return Slimmed(model, entries)
