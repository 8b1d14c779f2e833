"""Distillation after channels were removed: what is left learns to give what the whole model gave.

Source: Chen et al., "SlimSAM" (arXiv:2312.05284), section 3.2; constants as in github.com/czg1225/SlimSAM.
One term of its first loss there compares the student with itself; here features inside are compared with
those of the model before the step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from vidseg.compression.calls import Call, caught, distance, outputs_of, told_by
from vidseg.compression.epochs import learn
from vidseg.compression.kept import Kept
from vidseg.training.distil.losses import feature_distance

LEARNING_RATE = 1e-4
ACCUMULATED = 4
"""How many calls make a step of the optimiser."""
INSIDE = 0.5
"""Weight of the features inside, in the first half of the epochs; that of the output is the rest."""
PATIENCE = 2
"""After how many epochs without a smaller loss the learning rate is halved."""


def align(
    student: nn.Module,
    teacher: nn.Module,
    before: nn.Module,
    features: Sequence[str],
    calls: Sequence[Call],
    *,
    epochs: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    kept: Kept | None = None,
    name: str = "",
) -> None:
    """Train a part that lost channels.

    Args:
        teacher: the whole part, whose outputs are learned.
        before: the part before this step, whose features inside are learned in the first half of the epochs.
        features: names of the modules that make those features, as wide in both.
        kept: keeps each epoch, under `name`, and has what was kept before.

    Raises:
        RunError: a gradient is not finite.
    """

    def losses(done: float, chosen: Sequence[int], rng: random.Random) -> Iterator[Tensor]:
        for place in chosen:
            yield _loss(student, teacher, before, features if done < 0.5 else (), calls[place])

    learn(
        student,
        len(calls),
        losses,
        learning_rate=LEARNING_RATE,
        batch=ACCUMULATED,
        epochs=epochs,
        hint="remove a smaller share",
        patience=PATIENCE,
        seed=seed,
        tell=tell,
        kept=kept,
        name=name,
    )


def _loss(
    student: nn.Module, teacher: nn.Module, before: nn.Module, features: Sequence[str], call: Call
) -> Tensor:
    wanted = told_by(teacher, call)
    with caught(student, features) as ours:
        final = distance(outputs_of(student, call), wanted)
    if not features:
        return final
    with caught(before, features) as theirs:
        told_by(before, call)
    inside = torch.stack([feature_distance(ours[name], theirs[name]) for name in features]).mean()
    return (1 - INSIDE) * final + INSIDE * inside
