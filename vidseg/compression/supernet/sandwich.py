"""Sandwich training of a supernet: in each step the largest, the smallest and a random subnet learn.

The teacher is the network as it was: SuperSAM learns from true masks, which pictures alone do not have.

Source: SuperSAM (arXiv:2501.08504); Yu and Huang, "Universally Slimmable Networks" (ICCV 2019), for the
sandwich rule.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from vidseg.compression.calls import Call, distance, outputs_of, told_by
from vidseg.compression.epochs import learn
from vidseg.compression.kept import Kept
from vidseg.compression.supernet.choices import Choices
from vidseg.compression.supernet.subnet import Elastic

LEARNING_RATE = 1e-5
EPOCHS = "epochs"
"""The name under which epochs are kept."""
BATCH = 8
"""How many calls make a step of the optimiser."""


def train(
    encoder: Elastic,
    teacher: nn.Module,
    choices: Choices,
    calls: Sequence[Call],
    *,
    epochs: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    kept: Kept | None = None,
) -> None:
    """Train the weights that all subnets share.

    Args:
        kept: keeps each epoch, and has what was kept before.

    Raises:
        RunError: a gradient is not finite.
    """
    whole = encoder.subnet

    def losses(done: float, chosen: Sequence[int], rng: random.Random) -> Iterator[Tensor]:
        subnets = (choices.largest, choices.smallest, choices.draw(rng))
        for place in chosen:
            wanted = told_by(teacher, calls[place])
            for subnet in subnets:
                encoder.subnet = subnet
                yield distance(outputs_of(encoder, calls[place]), wanted)

    learn(
        encoder,
        len(calls),
        losses,
        learning_rate=LEARNING_RATE,
        batch=BATCH,
        epochs=epochs,
        hint="give --epochs 0, or other pictures",
        seed=seed,
        tell=tell,
        kept=kept,
        name=EPOCHS,
    )
    encoder.subnet = whole
