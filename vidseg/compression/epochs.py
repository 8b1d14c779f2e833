"""Epochs over the calls of a part that learns, each of them kept: slimming and supernets train so.

A step is that of `vidseg train` (`vidseg.training.learner`). What is random in an epoch hangs on its number
alone, so that who goes on from the epochs that were kept ends with the same weights.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from vidseg.compression.kept import Kept
from vidseg.errors import RunError
from vidseg.training.learner import Learner
from vidseg.training.seeds import step_seed

Losses = Callable[[float, Sequence[int], random.Random], Iterator[Tensor]]
"""A function of the share of the epochs that is over, the numbers of some calls, and what to draw from. It
yields the losses of these calls; the gradient of each is taken before the next one is asked for."""
_WEIGHTS, _MOMENTS = "weights/", "moments/"


def learn(
    part: nn.Module,
    num_calls: int,
    losses: Losses,
    *,
    learning_rate: float,
    batch: int,
    epochs: int,
    hint: str,
    patience: int | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    kept: Kept | None = None,
    name: str = "",
) -> None:
    """Train a part by Adam.

    Args:
        batch: how many calls make a step of the optimiser.
        hint: what to do if this diverges.
        patience: after how many epochs without a smaller loss the learning rate is halved; None: it stays.
        tell: called with a line for people after each epoch.
        kept: keeps each epoch, under `name`, and has what was kept before.

    Raises:
        RunError: a gradient is not finite.
    """
    learner = Learner(dict(part.named_parameters()), [torch.optim.Adam(part.parameters(), lr=learning_rate)])
    means = _go_on(part, learner, kept, name)
    plateau = None
    if patience is not None:
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            learner.optimisers[0], factor=0.5, patience=patience
        )
        for mean in means:
            plateau.step(mean)
    if means:
        tell(f"going on after epoch {len(means)}/{epochs}")
    for epoch in range(len(means), epochs):
        rng = random.Random(step_seed(seed, epoch, "calls"))
        order = rng.sample(range(num_calls), num_calls)
        told: list[float] = []
        for start in range(0, num_calls, batch):
            chosen = order[start : start + batch]
            with torch.enable_grad():
                for loss in losses(epoch / epochs, chosen, rng):
                    (loss / len(chosen)).backward()
                    told.append(float(loss.detach()))
            if not math.isfinite(learner.step()):
                raise RunError(f"learning diverged in epoch {epoch + 1}", hint=hint)
        means.append(sum(told) / len(told))
        if plateau:
            plateau.step(means[-1])
        tell(f"epoch {epoch + 1}/{epochs}: loss {means[-1]:.4g}")
        if kept is not None and kept.is_due:
            kept.write(name, _tensors_of(part, learner), {"means": means})


def _tensors_of(part: nn.Module, learner: Learner) -> dict[str, Tensor]:
    weights = {_WEIGHTS + key: value for key, value in part.state_dict().items()}
    return weights | {_MOMENTS + key: value for key, value in learner.moments().items()}


def _go_on(part: nn.Module, learner: Learner, kept: Kept | None, name: str) -> list[float]:
    """Bring a part to where it was kept; returns the mean losses of the epochs until then."""
    saved = None if kept is None else kept.read(name)
    if saved is None:
        return []
    tensors, facts = saved

    def below(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    part.load_state_dict(below(_WEIGHTS))
    learner.load(below(_MOMENTS))
    return list(facts["means"])
