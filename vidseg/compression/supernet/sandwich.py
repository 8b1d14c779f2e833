"""Sandwich training of a supernet: in each step the largest, the smallest and a random subnet learn.

The teacher is the network as it was: SuperSAM learns from true masks, which pictures alone do not have.

Source: SuperSAM (arXiv:2501.08504); Yu and Huang, "Universally Slimmable Networks" (ICCV 2019), for the
sandwich rule.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import nn

from vidseg.compression.calls import Call, distance, outputs_of, told_by
from vidseg.compression.kept import Kept, read_training, write_training
from vidseg.compression.supernet.choices import Choices
from vidseg.compression.supernet.subnet import Elastic
from vidseg.errors import RunError

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
        RunError: the loss is no longer finite.
    """
    optimiser = torch.optim.Adam(encoder.parameters(), LEARNING_RATE)
    rng = random.Random(seed)
    whole = encoder.subnet
    done = 0
    if before_stop := read_training(kept, EPOCHS, encoder, optimiser):
        done = before_stop["epochs"]
        version, state, gauss = before_stop["rng"]
        rng.setstate((version, tuple(state), gauss))
        tell(f"going on after epoch {done}/{epochs}")
    for epoch in range(done, epochs):
        order = list(range(len(calls)))
        rng.shuffle(order)
        total = 0.0
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            subnets = (choices.largest, choices.smallest, choices.draw(rng))
            for place in batch:
                wanted = told_by(teacher, calls[place])
                for subnet in subnets:
                    encoder.subnet = subnet
                    with torch.enable_grad():
                        loss = distance(outputs_of(encoder, calls[place]), wanted)
                        (loss / len(batch)).backward()
                    total += float(loss.detach())
            optimiser.step()
            optimiser.zero_grad()
        encoder.subnet = whole
        mean = total / (3 * len(order))
        if not math.isfinite(mean):
            raise RunError("training of the supernet diverged", hint="give --epochs 0, or other pictures")
        tell(f"epoch {epoch + 1}/{epochs}: loss {mean:.4g}")
        write_training(kept, EPOCHS, encoder, optimiser, epochs=epoch + 1, rng=rng.getstate())
